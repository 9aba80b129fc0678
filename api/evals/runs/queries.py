"""Reads of runs of evals. Each takes the project."""

from sqlalchemy import ColumnElement, String, cast, func, select
from sqlalchemy.orm import Session

from api.http.paging import fetch_page, within_page
from core.evals.evals import RUN_KIND
from core.tables import Task

SIZE = func.octet_length(cast(Task.request, String)) + func.coalesce(
    func.octet_length(cast(Task.report, String)), 0
)


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
    sizes = select(Task.id, SIZE).where(*_of_eval(project_id, eval_id))
    if status is not None:
        sizes = sizes.where(Task.status == status)
    rows, more = fetch_page(session, sizes, Task.id, after=after, limit=limit, newest_first=newest_first)
    ids = within_page(rows)
    found = {task.id: task for task in session.scalars(select(Task).where(Task.id.in_(ids)))}
    return [found[run_id] for run_id in ids if run_id in found], more or len(ids) < len(rows)


def _of_eval(project_id: str, eval_id: str) -> tuple[ColumnElement[bool], ...]:
    return (
        Task.project_id == project_id,
        Task.eval_id == eval_id,
        Task.kind == RUN_KIND,
        Task.deleted_at.is_(None),
    )
