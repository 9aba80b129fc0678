"""Reads of runs of evals. Each takes the project."""

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from api.http.paging import bytes_of, fetch_page
from core.evals.evals import RUN_KIND
from core.tables import Task


def find(session: Session, project_id: str, eval_id: str, run_id: str) -> Task | None:
    query = select(Task).where(Task.id == run_id, *_of_eval(project_id, eval_id))
    return session.scalars(query).one_or_none()


def page(
    session: Session,
    project_id: str,
    eval_id: str,
    status: str | None,
    *,
    after: str | None,
    limit: int,
    newest_first: bool,
) -> tuple[list[Task], bool]:
    """Return a page of the eval's runs whose task has this status, and whether more follow.

    The page ends early if it would have too many bytes.
    """
    query = select(Task).where(*_of_eval(project_id, eval_id))
    if status is not None:
        query = query.where(Task.status == status)
    size = bytes_of(Task.request, Task.report)
    rows, more = fetch_page(
        session, query, Task.id, after=after, limit=limit, newest_first=newest_first, size=size
    )
    return [task for (task,) in rows], more


def _of_eval(project_id: str, eval_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        Task.project_id == project_id,
        Task.eval_id == eval_id,
        Task.kind == RUN_KIND,
        Task.deleted_at.is_(None),
    )
