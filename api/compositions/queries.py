"""Reads of compositions. Each takes the project."""

from typing import Any, NamedTuple

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from api.http.paging import bytes_of, fetch_page
from core.tables import Adapter, Task

KIND = "composition"


class CompositionRow(NamedTuple):
    """The task of a composition, and the name of the model that it has made, if any."""

    task: Task
    model: str | None


def find(session: Session, project_id: str, composition_id: str) -> CompositionRow | None:
    row = session.execute(_rows(project_id).where(Task.id == composition_id)).one_or_none()
    return CompositionRow(*row) if row else None


def page(
    session: Session, project_id: str, *, after: str | None, limit: int
) -> tuple[list[CompositionRow], bool]:
    size = bytes_of(Task.request, Task.report)
    rows, has_more = fetch_page(session, _rows(project_id), Task.id, after=after, limit=limit, size=size)
    return [CompositionRow(*row) for row in rows], has_more


def _rows(project_id: str) -> Select[*tuple[Any, ...]]:
    query = select(Task, Adapter.model).outerjoin(Adapter, Adapter.id == Task.adapter_id)
    return query.where(Task.project_id == project_id, Task.kind == KIND, Task.deleted_at.is_(None))
