"""Stores and deletes secrets. Nothing here commits, and nothing here reads a value back."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.http.paging import shown_page
from api.schemas import Page
from api.secrets.schemas import SecretObject, SetSecret
from core.errors import NotFound
from core.options import SECRET_NAME
from core.secrets.vault import Vault
from core.tables import Secret


def put(session: Session, project_id: str, vault: Vault, asked: SetSecret) -> Secret:
    """Store or replace a secret. If two clients do so at once, both succeed and the later value stays.

    Raises InvalidRequest if this server has no key to encrypt it with.
    """
    given: dict[str, Any] = {"sealed": vault.seal(asked.value.get_secret_value())}
    if "hosts" in asked.model_fields_set:
        given["hosts"] = asked.hosts
    row = insert(Secret).values(project_id=project_id, name=asked.name, **given)
    replacing = row.on_conflict_do_update(
        index_elements=[Secret.project_id, Secret.name], set_=given | {"updated_at": func.now()}
    )
    return session.scalars(replacing.returning(Secret)).one()


def list_page(session: Session, project_id: str, after: str | None, limit: int) -> Page[SecretObject]:
    """Return a page of the project's secrets, by name."""
    query, show = select(Secret).where(Secret.project_id == project_id), SecretObject.of
    return shown_page(
        session, query, Secret.name, show, ids=SECRET_NAME, after=after, limit=limit, newest_first=False
    )


def delete(session: Session, project_id: str, name: str) -> None:
    """Delete the secret. Raises NotFound."""
    secret = session.get(Secret, (project_id, name))
    if secret is None:
        raise NotFound(
            f"No secret has the name {name}. List the secrets to see the names.",
            code="secret_not_found",
            param="secret_name",
        )
    session.delete(secret)
