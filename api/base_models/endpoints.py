"""/v1/organization/base_models: the catalog of base models, for the operator."""

import re
from typing import Any

from sqlalchemy.orm import Session

from api.admission.auth import OperatorCaller
from api.base_models import service
from api.base_models.schemas import BaseModelCheck, BaseModelObject, BaseModelRemoved, HubModel
from api.dependencies import AppSettings, ModelCatalog, ReadingSessions, Sessions, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, created, repeatable
from api.http.paging import After, Limit, check_cursor
from api.http.routers import feature
from api.schemas import Page, from_row
from core.access.idempotency import earlier_answer
from core.catalog import MODEL_ID, catalog_path
from core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied

CURSOR = re.compile(MODEL_ID)


router = feature("/v1/organization/base_models", "Base models", PermissionDenied)


@router.get("", responses=declared(InvalidRequest))
def list_base_models(
    _caller: OperatorCaller, catalog: ModelCatalog, limit: Limit = 20, after: After = None
) -> Page[BaseModelObject]:
    """List the catalog of the process that answers, by id. Only the operator can do this."""
    check_cursor(after, CURSOR)
    entries, has_more = service.list_page(catalog, after, limit)
    return Page.of([from_row(BaseModelObject, entry) for entry in entries], has_more)


@router.post("/check", responses=declared(InvalidRequest))
def check_base_model(_caller: OperatorCaller, reading: ReadingSessions, body: HubModel) -> BaseModelCheck:
    """Look at a model of the hub: licence, weights, architecture, chat template, and where it fits.

    Nothing is added, and no weights are fetched. The API asks the hub that `HF_ENDPOINT` names, with the
    token `HF_TOKEN`. Only the operator can do this.
    """
    with reading() as session:
        here = service.machines(session)
    return BaseModelCheck.of(service.look(body, here))


@router.post("", responses=declared(InvalidRequest, Conflict))
def add_base_model(
    caller: OperatorCaller,
    settings: AppSettings,
    reading: ReadingSessions,
    sessions: Sessions,
    attempt: ThisAttempt,
    catalog: ModelCatalog,
    body: HubModel,
) -> BaseModelCheck:
    """Look at a model of the hub, and write it to the catalog if jobs can train it.

    All processes that read this file offer it at once. Workers and servers on other machines have a file of
    their own, which needs the model too. Only the operator can do this.
    """
    asked = body.model_dump_json()

    def is_offered(_: Session, answer: dict[str, Any]) -> bool:
        return catalog.get(answer["model"]["id"]) is not None

    with reading() as session:
        if earlier := earlier_answer(session, attempt, asked, is_offered):
            return BaseModelCheck.model_validate(earlier)
        here = service.machines(session)
    offer = service.look(body, here)  # no session is open while the hub answers
    service.require_trainable(offer)
    file = catalog_path(settings)
    with sessions.begin() as session:

        def add() -> BaseModelCheck:
            service.add(session, caller, file, offer.entry)
            return BaseModelCheck.of(offer, str(file))

        return created(session, attempt, BaseModelCheck, asked, add, is_offered)


@router.delete("/{base_model}", responses=declared(InvalidRequest, NotFound, Conflict))
def remove_base_model(
    session: Transaction,
    caller: OperatorCaller,
    settings: AppSettings,
    attempt: ThisAttempt,
    base_model: str,
) -> BaseModelRemoved:
    """Offer a base model no more. What was trained on it stays; jobs that still wait for it will fail.

    Only the operator can do this.
    """

    def remove() -> BaseModelRemoved:
        service.remove(session, caller, catalog_path(settings), base_model)
        return BaseModelRemoved(id=base_model)

    return repeatable(session, attempt, BaseModelRemoved, remove)
