"""Reads and writes of stored secrets. Each takes the project."""

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import Secret


def put(session: Session, project_id: str, name: str, sealed: str) -> Secret:
    """Insert or replace a secret. If two clients do so at once, both succeed and the later value stays."""
    row = insert(Secret).values(project_id=project_id, name=name, sealed=sealed)
    replacing = row.on_conflict_do_update(
        index_elements=[Secret.project_id, Secret.name],
        set_={"sealed": row.excluded.sealed, "updated_at": func.now()},
    )
    return session.scalars(replacing.returning(Secret)).one()


def page(session: Session, project_id: str, *, after: str | None, limit: int) -> tuple[list[Secret], bool]:
    """Return a page of secrets, by name, and whether more follow."""
    query = select(Secret).where(Secret.project_id == project_id)
    rows, has_more = fetch_page(session, query, Secret.name, after=after, limit=limit, newest_first=False)
    return [secret for (secret,) in rows], has_more


def find(session: Session, project_id: str, name: str) -> Secret | None:
    return session.get(Secret, (project_id, name))
