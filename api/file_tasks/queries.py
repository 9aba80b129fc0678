"""Reads of the tasks of one kind that belong to a file. Nothing here commits."""

import re
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session, defer

from api.files import queries as file_queries
from api.files import service as files
from api.http.paging import bytes_of, check_cursor, fetch_page
from core.errors import NotFound
from core.tables import File, Task


def held_file(session: Session, project_id: str, file_id: str) -> File:
    """Return a file, and keep it from deletion until the transaction ends. Raises NotFound."""
    return file_queries.find_for_job(session, project_id, file_id) or files.get(session, project_id, file_id)


def get(session: Session, project_id: str, kind: str, file_id: str, task_id: str) -> Task:
    """Return a task of a file. Raises NotFound for either."""
    files.get(session, project_id, file_id)
    query = _tasks(project_id, kind, file_id).where(Task.id == task_id)
    task = session.scalars(query).one_or_none()
    if task is None:
        raise NotFound(f"No such {kind}: {task_id}", code=f"{kind}_not_found", param=f"{kind}_id")
    return task


def list_page(
    session: Session,
    project_id: str,
    kind: str,
    file_id: str,
    ids: re.Pattern[str],
    after: str | None,
    limit: int,
) -> tuple[list[tuple[Task, Any]], bool]:
    """Return a page of a file's tasks, newest first, without their reports. Raises NotFound for the file.

    Each task comes with the counts of its report, or None.
    """
    check_cursor(after, ids)
    files.get(session, project_id, file_id)
    query = _tasks(project_id, kind, file_id).options(defer(Task.report, raiseload=True))
    counted = query.add_columns(Task.report["counts"])
    size = bytes_of(Task.request, Task.error)
    rows, more = fetch_page(session, counted, Task.id, after=after, limit=limit, size=size)
    return [(task, counts) for task, counts in rows], more


def _tasks(project_id: str, kind: str, file_id: str) -> Select[Task]:
    of_file = Task.project_id == project_id, Task.file_id == file_id
    return select(Task).where(*of_file, Task.kind == kind, Task.deleted_at.is_(None))
