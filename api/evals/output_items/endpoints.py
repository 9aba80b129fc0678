"""/v1/evals/{id}/runs/{id}/output_items: what a run found for each row."""

import re
from typing import Annotated, Literal

from fastapi import Query
from starlette.responses import Response

from api.admission.auth import CurrentCaller
from api.admission.store_threads import waits_for_store
from api.dependencies import ReadingSessions, ReadingThreads, Store
from api.evals.output_items.reading import Wanted, read_each, read_page
from api.evals.output_items.schemas import OutputItemObject
from api.evals.runs.service import RUNS
from api.http.errors import declared
from api.http.paging import After, Limit, check_cursor
from api.http.routers import feature
from api.schemas import Page
from core.errors import InvalidRequest, NotFound
from core.evals.results import ItemStatus

INDEX = "(0|[1-9][0-9]{0,8})"

router = feature("/v1/evals/{eval_id}/runs/{run_id}/output_items", "Evals", NotFound)


@router.get("", response_model=Page[OutputItemObject], responses=declared(InvalidRequest))
@waits_for_store
def list_output_items(
    reading: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,  # noqa: ARG001 - `waits_for_store` takes a thread of them
    eval_id: str,
    run_id: str,
    limit: Limit = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="`asc`: the first row first")] = "asc",
    status: Annotated[
        ItemStatus | None,
        Query(description="Only rows that pass all criteria, that fail one, or that could not be judged"),
    ] = None,
    after: After = None,
) -> Response:
    """List what a run found for each row, by default from the first row on.

    There are no items before the run has completed. A page may have fewer than `limit` items although more
    follow, if they are large.
    """
    with reading() as session:
        run = RUNS.find(session, caller.project_id, eval_id, run_id).task
    check_cursor(after, _item_id(run.id))
    last = int(after.rpartition("-")[2]) if after else None
    records, has_more = read_page(store, run, Wanted(last, limit, order == "desc", status))
    page = Page[OutputItemObject].of([OutputItemObject.of(run, record) for record in records], has_more)
    return Response(page.model_dump_json(), media_type="application/json")


@router.get("/{output_item_id}")
@waits_for_store
def retrieve_output_item(
    reading: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,  # noqa: ARG001 - `waits_for_store` takes a thread of them
    eval_id: str,
    run_id: str,
    output_item_id: str,
) -> OutputItemObject:
    """Return what a run found for one row."""
    with reading() as session:
        run = RUNS.find(session, caller.project_id, eval_id, run_id).task
    named = _item_id(run.id).fullmatch(output_item_id)
    index = int(named[1]) if named else -1
    record = read_each(store, run, {index}).get(index)
    if record is None:
        raise NotFound(
            f"No such output item: {output_item_id}", code="output_item_not_found", param="output_item_id"
        )
    return OutputItemObject.of(run, record)


def _item_id(run_id: str) -> re.Pattern[str]:
    return re.compile(f"{re.escape(run_id)}-{INDEX}")
