"""/v1/evals/{id}/runs: judge models by an eval."""

from api.admission.store_threads import waits_for_store
from api.dependencies import ReadingSessions, ReadingThreads, Sessions, Store
from api.evals import service as evals
from api.evals.runs.preparation import check_file, prepare
from api.evals.runs.schemas import CreateRun, EvalRunObject
from api.evals.runs.service import RUNS, wanted_runs
from api.http.errors import declared
from api.http.idempotency import found_by
from api.http.routers import feature
from api.work.creation import Context, NewTask, create_task
from api.work.endpoints import add_task_routes
from core.access.idempotency import earlier_answer
from core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, RateLimited
from core.evals.evals import held_eval

router = feature("/v1/evals/{eval_id}/runs", "Evals", NotFound)


@router.post("", responses=declared(InvalidRequest, Conflict, QuotaExceeded, RateLimited))
@waits_for_store
def create_eval_run(
    sessions: Sessions,
    reading: ReadingSessions,
    context: Context,
    store: Store,
    threads: ReadingThreads,  # noqa: ARG001 - `waits_for_store` takes a thread of them
    eval_id: str,
    body: CreateRun,
) -> EvalRunObject:
    """Judge a model by the eval. Read the run until its `status` is `completed` or `failed`.

    The model is found now: if an alias moves later, the run still judges the model that the alias led to.
    """
    caller, settings, asked = context.caller, context.settings, body.model_dump_json()
    is_there = found_by(RUNS.find, caller.project_id, eval_id)
    with reading() as session:
        if earlier := earlier_answer(session, context.attempt, asked, is_there):
            return EvalRunObject.model_validate(earlier)
        prepared = prepare(session, caller.project_id, context.catalog, settings, eval_id, body)
    check_file(store, settings, prepared)
    with sessions.begin() as session:

        def check() -> NewTask:
            evals.get(session, caller.project_id, eval_id)
            held_eval(session, eval_id)
            details = {"eval": eval_id, "model": prepared.request.model}
            return NewTask(prepared.request, details, {"eval_id": eval_id})

        return create_task(session, context, RUNS, asked, check, eval_id)


add_task_routes(router, RUNS, "", wanted_runs)
