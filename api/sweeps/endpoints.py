"""/v1/fine_tuning/sweeps: jobs that try combinations of values, and keep the best.

All else of a sweep is its job's: events, metrics, checkpoints, the candidates' curves, pause and resume.
"""

from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Query

from api.dependencies import AppSettings, Bell, ModelCatalog, Transaction
from api.http.auth import CurrentCaller
from api.http.errors import declared
from api.http.idempotency import ThisAttempt
from api.http.paging import After
from api.http.strict_json import StrictJsonRoute
from api.schemas import Page
from api.sweeps import service
from api.sweeps.schemas import CreateSweep, SweepObject
from core.access import audit
from core.access.idempotency import once
from core.access.quotas import check_queue
from core.errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    RateLimited,
    TooLarge,
    Unavailable,
)

MAX_LIMIT = 100

router = APIRouter(
    prefix="/v1/fine_tuning/sweeps",
    tags=["Sweeps"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, Unavailable),
)


@router.post("", responses=declared(InvalidRequest, Conflict, TooLarge, RateLimited))
def create_sweep(
    session: Transaction,
    caller: CurrentCaller,
    settings: AppSettings,
    catalog: ModelCatalog,
    doorbell: Bell,
    after_response: BackgroundTasks,
    attempt: ThisAttempt,
    body: CreateSweep,
) -> SweepObject:
    """Queue one job that trains a candidate for each combination, and publishes the best.

    After an eighth and a quarter of the steps, or more often where there are more candidates, the half with
    the lower losses on the validation file trains on.
    """

    def create() -> dict[str, Any]:
        sweep = service.create(session, caller.project_id, catalog, settings, body)
        check_queue(session, caller.project_id, caller.quotas.queued_jobs)
        audit.record(session, caller, "sweep.created", sweep.id, {"job_id": sweep.job_id})
        return sweep.model_dump(mode="json")

    sweep = SweepObject.model_validate(once(session, attempt, body.model_dump_json(by_alias=True), create))
    after_response.add_task(doorbell.wake, body.training_or_default.devices)
    return sweep


@router.get("", responses=declared(InvalidRequest))
def list_sweeps(
    session: Transaction,
    caller: CurrentCaller,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT)] = 20,
    after: After = None,
) -> Page[SweepObject]:
    """Newest first."""
    return Page.of(*service.list_page(session, caller.project_id, after, limit))


@router.get("/{sweep_id}", responses=declared(NotFound))
def retrieve_sweep(session: Transaction, caller: CurrentCaller, sweep_id: str) -> SweepObject:
    """A sweep as it is now, with its candidates in the order of their success so far."""
    return service.get(session, caller.project_id, sweep_id)


@router.post("/{sweep_id}/cancel", responses=declared(NotFound, InvalidRequest, Conflict))
def cancel_sweep(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, sweep_id: str
) -> SweepObject:
    """Cancel the job of a sweep that has not ended, at once."""

    def cancel() -> dict[str, Any]:
        sweep = service.cancel(session, caller.project_id, sweep_id)
        audit.record(session, caller, "sweep.cancelled", sweep.id, {"job_id": sweep.job_id})
        return sweep.model_dump(mode="json")

    return SweepObject.model_validate(once(session, attempt, "", cancel))
