"""/v1/aliases: names for models that can be moved at once, with their history."""

from typing import Annotated, Any

from fastapi import Body
from sqlalchemy.orm import Session

from api.adapters.aliases import find as find_alias
from api.admission.auth import CurrentCaller
from api.admission.callers import Caller
from api.aliases import service
from api.aliases.schemas import AliasDeleted, AliasMoveObject, AliasObject, MoveBack, SetAlias
from api.dependencies import ModelCatalog, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, created, repeatable
from api.http.paging import After, LongLimit
from api.http.routers import feature
from api.schemas import Page
from core.access.idempotency import Stands
from core.errors import Conflict, InvalidRequest, NotFound, TooLarge

NOTHING_EXPECTED = MoveBack()


router = feature("/v1/aliases", "Aliases")


@router.get("", responses=declared(InvalidRequest))
def list_aliases(
    session: Transaction, caller: CurrentCaller, limit: LongLimit = 20, after: After = None
) -> Page[AliasObject]:
    """List the project's aliases by name."""
    return service.list_page(session, caller.project_id, after, limit)


@router.post("", responses=declared(InvalidRequest, Conflict, TooLarge))
def set_alias(
    session: Transaction, caller: CurrentCaller, catalog: ModelCatalog, attempt: ThisAttempt, body: SetAlias
) -> AliasObject:
    """Create an alias, or move it.

    Requests that begin after the answer go to the new models. As long as an alias leads to a model, the model
    cannot be deleted.
    """

    def put() -> AliasObject:
        return AliasObject.of(service.put(session, caller, catalog, body))

    return created(session, attempt, AliasObject, body, put, _leads_there(caller))


@router.get("/{alias}", responses=declared(NotFound))
def retrieve_alias(session: Transaction, caller: CurrentCaller, alias: str) -> AliasObject:
    """Return an alias."""
    return AliasObject.of(service.get(session, caller.project_id, alias))


@router.delete("/{alias}", responses=declared(NotFound, InvalidRequest, Conflict))
def delete_alias(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, alias: str
) -> AliasDeleted:
    """Delete an alias with its history. Its models stay."""

    def delete() -> AliasDeleted:
        service.delete(session, caller, alias)
        return AliasDeleted(id=alias)

    return repeatable(session, attempt, AliasDeleted, delete)


@router.post("/{alias}/back", responses=declared(NotFound, InvalidRequest, Conflict))
def move_alias_back(
    session: Transaction,
    caller: CurrentCaller,
    catalog: ModelCatalog,
    attempt: ThisAttempt,
    alias: str,
    body: Annotated[MoveBack, Body()] = NOTHING_EXPECTED,
) -> AliasObject:
    """Move an alias to where it led before its latest move. Each further call goes one move further back."""

    def back() -> AliasObject:
        return AliasObject.of(service.back(session, caller, catalog, alias, body.version))

    return created(session, attempt, AliasObject, body, back, _leads_there(caller))


@router.get("/{alias}/history", responses=declared(NotFound, InvalidRequest))
def list_moves(
    session: Transaction, caller: CurrentCaller, alias: str, limit: LongLimit = 20, after: After = None
) -> Page[AliasMoveObject]:
    """List the moves of an alias, newest first, with the API keys that made them."""
    return service.history(session, caller.project_id, alias, after, limit)


def _leads_there(caller: Caller) -> Stands:
    """Return a check of whether an alias is still as an answer shows it. Then nobody moves it meanwhile."""

    def leads_there(session: Session, answer: dict[str, Any]) -> bool:
        alias = find_alias(session, caller.project_id, answer["name"], lock=True)
        return alias is not None and AliasObject.of(alias).model_dump(mode="json") == answer

    return leads_there
