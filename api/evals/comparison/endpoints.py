"""/v1/evals/{id}/compare: whether a tuned model is better than its base."""

from typing import Annotated

from fastapi import Query
from starlette.responses import Response

from api.admission.auth import CurrentCaller
from api.admission.store_threads import waits_for_thread
from api.dependencies import ComparingThreads, ReadingSessions, Store
from api.evals.comparison import service
from api.evals.comparison.schemas import ChangedRow, ComparisonObject
from api.http.paging import After, Limit
from api.http.routers import feature
from api.schemas import Page
from core.errors import Conflict, InvalidRequest, NotFound

Base = Annotated[str, Query(description="The run of the base model", max_length=128)]
Tuned = Annotated[str, Query(description="The run of the model that may be better", max_length=128)]

router = feature("/v1/evals/{eval_id}/compare", "Evals", NotFound, InvalidRequest, Conflict)


@router.get("")
@waits_for_thread
def compare_eval_runs(
    reading: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ComparingThreads,  # noqa: ARG001 - `waits_for_thread` takes a thread of them
    eval_id: str,
    base: Base,
    tuned: Tuned,
) -> ComparisonObject:
    """Compare two completed runs of an eval that have judged the same rows.

    Each criterion has both values and their difference with 95 % intervals, a p-value and a verdict.
    """
    with reading() as session:
        runs = service.find(session, caller.project_id, eval_id, base, tuned)
    return service.comparison(store, runs)


@router.get("/rows", response_model=Page[ChangedRow])
@waits_for_thread
def list_changed_rows(
    reading: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ComparingThreads,  # noqa: ARG001 - `waits_for_thread` takes a thread of them
    eval_id: str,
    base: Base,
    tuned: Tuned,
    criterion: Annotated[str, Query(description="The name of one of the eval's criteria", max_length=256)],
    change: Annotated[service.Change, Query(description="`better`: rows that the tuned model does better")],
    limit: Limit = 20,
    after: After = None,
) -> Response:
    """List the rows that the tuned model does better or worse by a criterion, the largest change first.

    A page may have fewer than `limit` rows although more follow, if they are large.
    """
    with reading() as session:
        runs = service.find(session, caller.project_id, eval_id, base, tuned)
    rows, has_more = service.changed_rows(store, runs, criterion, change, after, limit)
    page = Page[ChangedRow].of(rows, has_more)
    return Response(page.model_dump_json(), media_type="application/json")
