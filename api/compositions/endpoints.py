"""/v1/adapters/compose and /v1/adapters/compositions: make one adapter of several."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.admission.auth import CurrentCaller
from api.compositions import service
from api.compositions.schemas import CompositionDeleted, CompositionObject
from api.dependencies import AppSettings, ModelCatalog, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, found_by, repeatable
from api.http.paging import LIMIT, After
from api.http.strict_json import StrictJsonRoute
from api.schemas import Page
from core.access import audit
from core.access.idempotency import once
from core.compositions.requests import ComposeRequest
from core.errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    Unavailable,
)
from core.work import client as tasks

MAX_LIMIT = 1000

router = APIRouter(
    prefix="/v1/adapters",
    tags=["Adapters"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, Unavailable),
)


@router.post("/compose", responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded, RateLimited))
def compose_adapters(
    session: Transaction,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    catalog: ModelCatalog,
    body: ComposeRequest,
) -> CompositionObject:
    """Start to compose several LoRA adapters of one base model into one.

    Read the composition until its `status` is `succeeded` or `failed`. Its result is an adapter like any
    other: chat with it, export it, continue from it. An adapter may also be one of a model that is shared
    with the project.
    """

    def create() -> dict[str, Any]:
        most_open = settings.project_open_tasks
        row = service.create(session, caller.project_id, catalog, body, caller.quotas, most_open)
        named = [part.adapter for part in body.adapters]
        audit.record(session, caller, "composition.created", row.task.id, {"adapters": named})
        return CompositionObject.of(row).model_dump(mode="json")

    is_there = found_by(service.get, caller.project_id)
    return CompositionObject.model_validate(once(session, attempt, body.model_dump_json(), create, is_there))


@router.get("/compositions", responses=declared(InvalidRequest))
def list_compositions(
    session: Transaction,
    caller: CurrentCaller,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT, description=LIMIT)] = 20,
    after: After = None,
) -> Page[CompositionObject]:
    """List the project's compositions, newest first.

    A page may have fewer than `limit` items although more follow, if they are large.
    """
    rows, has_more = service.list_page(session, caller.project_id, after, limit)
    return Page.of([CompositionObject.of(row) for row in rows], has_more)


@router.get("/compositions/{composition_id}", responses=declared(NotFound))
def retrieve_composition(
    session: Transaction, caller: CurrentCaller, composition_id: str
) -> CompositionObject:
    """Return a composition, with its progress or its result."""
    return CompositionObject.of(service.get(session, caller.project_id, composition_id))


@router.post("/compositions/{composition_id}/cancel", responses=declared(NotFound, Conflict, InvalidRequest))
def cancel_composition(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, composition_id: str
) -> CompositionObject:
    """Cancel a composition that has not ended. It makes no adapter."""

    def cancel() -> CompositionObject:
        row = service.get(session, caller.project_id, composition_id)
        tasks.cancel(session, row.task)
        audit.record(session, caller, "composition.cancelled", composition_id)
        return CompositionObject.of(row)

    return repeatable(session, attempt, CompositionObject, cancel, done="task_ended")


@router.delete("/compositions/{composition_id}", responses=declared(NotFound, Conflict, InvalidRequest))
def delete_composition(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, composition_id: str
) -> CompositionDeleted:
    """Delete the record of a composition that has ended. The adapter that it has made stays."""

    def delete() -> CompositionDeleted:
        row = service.get(session, caller.project_id, composition_id)
        tasks.delete(session, row.task)
        audit.record(session, caller, "composition.deleted", composition_id)
        return CompositionDeleted(id=composition_id)

    return repeatable(session, attempt, CompositionDeleted, delete)
