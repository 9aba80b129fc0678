"""Reads of aliases and of their moves."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import Alias, AliasMove, ApiKey


def add(session: Session, project_id: str, name: str) -> None:
    """Add an alias without a move, unless the project has one of this name."""
    row = insert(Alias).values(project_id=project_id, name=name, weights={}, version=0)
    session.execute(row.on_conflict_do_nothing())


def count(session: Session, project_id: str) -> int:
    return session.scalars(select(func.count()).where(Alias.project_id == project_id)).one()


def page(session: Session, project_id: str, *, after: str | None, limit: int) -> tuple[list[Alias], bool]:
    """Return a page of aliases, by name, and whether more follow."""
    query = select(Alias).where(Alias.project_id == project_id)
    rows, has_more = fetch_page(session, query, Alias.name, after=after, limit=limit, newest_first=False)
    return [alias for (alias,) in rows], has_more


def find_move(session: Session, alias: Alias, version: int) -> AliasMove:
    return session.get_one(AliasMove, (alias.project_id, alias.name, version))


def moves(
    session: Session, alias: Alias, *, after: int | None, limit: int
) -> tuple[list[tuple[AliasMove, ApiKey | None]], bool]:
    """Return a page of moves with the keys that made them, newest first, and whether more follow."""
    query: Any = (
        select(AliasMove, ApiKey)
        .outerjoin(ApiKey, ApiKey.id == AliasMove.key_id)
        .where(AliasMove.project_id == alias.project_id, AliasMove.alias == alias.name)
    )
    rows, has_more = fetch_page(session, query, AliasMove.version, after=after, limit=limit)
    return [(move, key) for move, key in rows], has_more
