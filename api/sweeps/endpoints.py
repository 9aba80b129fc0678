"""/v1/fine_tuning/sweeps: jobs that try combinations of values, and keep the best.

For events, metrics, checkpoints, the candidates' curves, pause and resume, use the routes of the sweep's job.
"""

from fastapi import BackgroundTasks

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, Hints, ModelCatalog, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, created, found_by, repeatable
from api.http.paging import After, Limit
from api.http.routers import feature
from api.schemas import Page
from api.sweeps import service
from api.sweeps.schemas import CreateSweep, SweepObject
from core.access import audit
from core.access.quotas import check_queue, check_request
from core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, RateLimited, TooLarge

router = feature("/v1/fine_tuning/sweeps", "Sweeps")


@router.post("", responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded, RateLimited))
def create_sweep(
    session: Transaction,
    caller: CurrentCaller,
    settings: AppSettings,
    catalog: ModelCatalog,
    hint_sender: Hints,
    after_response: BackgroundTasks,
    attempt: ThisAttempt,
    body: CreateSweep,
) -> SweepObject:
    """Queue one job that trains a candidate for each combination of values, and publishes the best.

    The candidates are compared after an eighth and a quarter of the steps, and more often if there are many
    candidates. Each time, the half with the lower losses on the validation file continues to train.
    """

    def create() -> SweepObject:
        sweep = service.create(session, caller.project_id, catalog, settings, body)
        check_queue(session, caller.project_id, caller.quotas.queued_jobs)
        check_request(session, caller.project_id, caller.quotas.stored_bytes)
        audit.record(session, caller, "sweep.created", sweep.id, {"job_id": sweep.job_id})
        return sweep

    sweep = created(session, attempt, SweepObject, body, create, found_by(service.get, caller.project_id))
    after_response.add_task(hint_sender.send, body.training_or_default.devices)
    return sweep


@router.get("", responses=declared(InvalidRequest))
def list_sweeps(
    session: Transaction,
    caller: CurrentCaller,
    limit: Limit = 20,
    after: After = None,
) -> Page[SweepObject]:
    """List the project's sweeps, newest first.

    A page may have fewer than `limit` items although more follow, if they are large.
    """
    return Page.of(*service.list_page(session, caller.project_id, after, limit))


@router.get("/{sweep_id}", responses=declared(NotFound))
def retrieve_sweep(session: Transaction, caller: CurrentCaller, sweep_id: str) -> SweepObject:
    """Return a sweep as it is now, with its candidates, the best first."""
    return service.get(session, caller.project_id, sweep_id)


@router.post("/{sweep_id}/cancel", responses=declared(NotFound, InvalidRequest, Conflict))
def cancel_sweep(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, sweep_id: str
) -> SweepObject:
    """Cancel a sweep whose job has not ended. The job ends at once."""

    def cancel() -> SweepObject:
        sweep = service.cancel(session, caller.project_id, sweep_id)
        audit.record(session, caller, "sweep.cancelled", sweep.id, {"job_id": sweep.job_id})
        return sweep

    return repeatable(session, attempt, SweepObject, cancel, done="job_not_cancellable")
