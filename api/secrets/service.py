"""Stores and deletes secrets. Nothing here commits, and nothing here reads a value back."""

from sqlalchemy.orm import Session

from api.http.paging import check_cursor
from api.secrets import queries
from core.errors import NotFound
from core.options import SECRET_NAME
from core.secrets.vault import Vault
from core.tables import Secret


def put(session: Session, project_id: str, vault: Vault, name: str, value: str) -> Secret:
    """Store the value under the name. Raises InvalidRequest if this server has no key to encrypt it with."""
    return queries.put(session, project_id, name, vault.seal(value))


def list_page(session: Session, project_id: str, after: str | None, limit: int) -> tuple[list[Secret], bool]:
    check_cursor(after, SECRET_NAME)
    return queries.page(session, project_id, after=after, limit=limit)


def delete(session: Session, project_id: str, name: str) -> None:
    """Delete the secret. Raises NotFound."""
    secret = queries.find(session, project_id, name)
    if secret is None:
        raise NotFound(
            f"No secret has the name {name}. List the secrets to see the names.",
            code="secret_not_found",
            param="secret_name",
        )
    session.delete(secret)
