"""/v1/evals/{id}/runs: judge models by an eval."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from api.admission.auth import CurrentCaller
from api.admission.store_threads import waits_for_store
from api.dependencies import (
    AppSettings,
    ModelCatalog,
    ReadingSessions,
    ReadingThreads,
    Sessions,
    Store,
    Transaction,
)
from api.evals.runs import service
from api.evals.runs.preparation import check_file, prepare
from api.evals.runs.schemas import CreateRun, EvalRunDeleted, EvalRunObject, RunStatus
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, found_by, repeatable
from api.http.paging import LIMIT, After
from api.http.strict_json import StrictJsonRoute
from api.schemas import Page
from core.access.idempotency import earlier_answer, once
from core.errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    QuotaExceeded,
    RateLimited,
    Unavailable,
)

MAX_LIMIT = 100

router = APIRouter(
    prefix="/v1/evals/{eval_id}/runs",
    tags=["Evals"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, NotFound, Unavailable),
)


@router.post("", responses=declared(InvalidRequest, Conflict, QuotaExceeded, RateLimited))
@waits_for_store
def create_eval_run(
    sessions: Sessions,
    reading: ReadingSessions,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    catalog: ModelCatalog,
    store: Store,
    threads: ReadingThreads,  # noqa: ARG001 - `waits_for_store` takes a thread of them
    eval_id: str,
    body: CreateRun,
) -> EvalRunObject:
    """Judge a model by the eval. Read the run until its `status` is `completed` or `failed`.

    The model is found now: if an alias moves later, the run still judges the model that the alias led to.
    """
    asked, is_there = body.model_dump_json(), found_by(service.get, caller.project_id, eval_id)
    with reading() as session:
        if earlier := earlier_answer(session, attempt, asked, is_there):
            return EvalRunObject.model_validate(earlier)
        prepared = prepare(session, caller.project_id, catalog, settings, eval_id, body)
    check_file(store, settings, prepared)
    with sessions.begin() as session:

        def create() -> dict[str, Any]:
            most_open = settings.project_open_tasks
            run = service.create(session, caller, eval_id, prepared.request, most_open)
            return EvalRunObject.of(run, settings.public_url).model_dump(mode="json")

        return EvalRunObject.model_validate(once(session, attempt, asked, create, is_there))


@router.get("", responses=declared(InvalidRequest))
def list_eval_runs(
    session: Transaction,
    caller: CurrentCaller,
    settings: AppSettings,
    eval_id: str,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT, description=LIMIT)] = 20,
    order: Annotated[Literal["asc", "desc"], Query(description="`asc`: the oldest first")] = "asc",
    status: Annotated[RunStatus | None, Query(description="Only runs with this status")] = None,
    after: After = None,
) -> Page[EvalRunObject]:
    """List the runs of an eval, by default the oldest first.

    A page may have fewer than `limit` items although more follow, if they are large.
    """
    runs, has_more = service.list_page(session, caller.project_id, eval_id, status, order, after, limit)
    return Page.of([EvalRunObject.of(run, settings.public_url) for run in runs], has_more)


@router.get("/{run_id}")
def retrieve_eval_run(
    session: Transaction, caller: CurrentCaller, settings: AppSettings, eval_id: str, run_id: str
) -> EvalRunObject:
    """Return a run of an eval, with its progress or its result."""
    return EvalRunObject.of(service.get(session, caller.project_id, eval_id, run_id), settings.public_url)


@router.post("/{run_id}/cancel", responses=declared(Conflict, InvalidRequest))
def cancel_eval_run(
    session: Transaction,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    eval_id: str,
    run_id: str,
) -> EvalRunObject:
    """Cancel a run that has not ended."""

    def cancel() -> EvalRunObject:
        return EvalRunObject.of(service.cancel(session, caller, eval_id, run_id), settings.public_url)

    return repeatable(session, attempt, EvalRunObject, cancel, done="task_ended")


@router.delete("/{run_id}", responses=declared(Conflict, InvalidRequest))
def delete_eval_run(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, eval_id: str, run_id: str
) -> EvalRunDeleted:
    """Delete a run that has ended, with its items."""

    def delete() -> EvalRunDeleted:
        service.delete(session, caller, eval_id, run_id)
        return EvalRunDeleted(run_id=run_id)

    return repeatable(session, attempt, EvalRunDeleted, delete)
