"""/v1/secrets: set, list and delete the secrets that a project's jobs use, such as a tracker's key."""

from functools import partial
from typing import Annotated

from fastapi import Query

from api.admission.auth import AdminCaller
from api.dependencies import Secrets, Transaction
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, deleted
from api.http.paging import LIMIT, After
from api.http.routers import feature
from api.schemas import Page
from api.secrets import service
from api.secrets.schemas import SecretDeleted, SecretObject, SetSecret
from core.access import audit
from core.errors import Conflict, InvalidRequest, NotFound, PermissionDenied, TooLarge

router = feature("/v1/secrets", "Secrets", PermissionDenied)


@router.post("", responses=declared(InvalidRequest, TooLarge))
def set_secret(session: Transaction, caller: AdminCaller, vault: Secrets, body: SetSecret) -> SecretObject:
    """Store a secret, or replace it. It is stored encrypted, and no request returns its value."""
    secret = service.put(session, caller.project_id, vault, body)
    audit.record(session, caller, "secret.set", body.name, {"hosts": secret.hosts})
    return SecretObject.of(secret)


@router.get("", responses=declared(InvalidRequest))
def list_secrets(
    session: Transaction,
    caller: AdminCaller,
    limit: Annotated[int, Query(ge=1, le=1000, description=LIMIT)] = 100,
    after: After = None,
) -> Page[SecretObject]:
    """List the project's secrets by name, without their values."""
    return service.list_page(session, caller.project_id, after, limit)


@router.delete("/{secret_name}", responses=declared(NotFound, InvalidRequest, Conflict))
def delete_secret(
    session: Transaction, caller: AdminCaller, attempt: ThisAttempt, secret_name: str
) -> SecretDeleted:
    """Delete a secret."""
    answer = SecretDeleted(id=secret_name)
    delete = partial(service.delete, session, caller.project_id, secret_name)
    return deleted(session, attempt, answer, "secret.deleted", delete)
