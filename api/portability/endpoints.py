"""/v1/adapters/{id}/portability: which runtimes load an adapter, and whether they answer alike."""

from typing import Any

from fastapi.routing import APIRoute
from sqlalchemy.orm import Session

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, ModelCatalog, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, created, repeatable
from api.http.routers import feature
from api.portability import service
from api.portability.schemas import PortabilityObject
from core.access import audit
from core.errors import Conflict, InvalidRequest, NotFound, RateLimited

router = feature("/v1/adapters/{adapter_id}/portability", "Portability", NotFound, route_class=APIRoute)


@router.get("")
def retrieve_portability(
    session: Transaction, caller: CurrentCaller, catalog: ModelCatalog, adapter_id: str
) -> PortabilityObject:
    """Return which runtimes load an adapter: as measured, and by rules for all that is not measured."""
    return service.describe(session, caller.project_id, adapter_id, catalog)


@router.post("", responses=declared(InvalidRequest, Conflict, RateLimited))
def measure_portability(
    session: Transaction,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    catalog: ModelCatalog,
    adapter_id: str,
) -> PortabilityObject:
    """Start a measurement of an adapter, unless one is under way.

    A measurement that a job has started may wait for hours. Once you ask for it, it waits no longer than
    others. A worker loads the adapter in each runtime that it has, and compares the answers to up to 20
    prompts with our own. Read the report until `measurement.finished_at` is set.
    """

    def start() -> PortabilityObject:
        task = service.start(session, caller.project_id, adapter_id, settings.project_open_tasks)
        if task is not None:
            audit.record(session, caller, "portability.started", task.id, {"adapter": adapter_id})
        return service.describe(session, caller.project_id, adapter_id, catalog)

    def is_current(session: Session, answer: dict[str, Any]) -> bool:
        return service.is_current(session, caller.project_id, adapter_id, answer["measurement"]["id"])

    return created(session, attempt, PortabilityObject, "", start, is_current)


@router.post("/cancel", responses=declared(Conflict, InvalidRequest))
def cancel_portability(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, catalog: ModelCatalog, adapter_id: str
) -> PortabilityObject:
    """Cancel the measurement that is under way. An earlier one stays."""

    def cancel() -> PortabilityObject:
        task = service.cancel(session, caller.project_id, adapter_id)
        audit.record(session, caller, "portability.cancelled", task.id)
        return service.describe(session, caller.project_id, adapter_id, catalog)

    return repeatable(session, attempt, PortabilityObject, cancel, done="task_ended")
