"""Reads of evals. Each takes the project."""

from typing import NamedTuple

from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import Session

from api.http.paging import bytes_of, fetch_page, unknown_cursor, within_page
from core.tables import Eval, Task

SIZE = bytes_of(Eval.criteria, Eval.data_source_config)


class Wanted(NamedTuple):
    """Which evals of the project a list shows: all, those of a job, or those with a run of this model."""

    project_id: str
    job_id: str | None = None
    model: str | None = None


def find(session: Session, project_id: str, eval_id: str, *, lock: bool = False) -> Eval | None:
    query = select(Eval).where(Eval.id == eval_id, Eval.project_id == project_id, Eval.deleted_at.is_(None))
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def page(
    session: Session,
    wanted: Wanted,
    *,
    by_change: bool,
    after: str | None,
    limit: int,
    newest_first: bool,
) -> tuple[list[Eval], bool]:
    """Return a page of the wanted evals, and whether more follow.

    They are in the order of their creation, or of their last change with `by_change`. The page ends early if
    it would have too many bytes.
    """
    sizes = select(Eval.id, SIZE).where(Eval.project_id == wanted.project_id, Eval.deleted_at.is_(None))
    if wanted.job_id is not None:
        sizes = sizes.where(Eval.job_id == wanted.job_id)
    if wanted.model is not None:
        sizes = sizes.where(Eval.id.in_(_judging(wanted.project_id, wanted.model)))
    if by_change:
        rows, more = _by_change(session, sizes, wanted.project_id, after, limit, newest_first)
    else:
        rows, more = fetch_page(session, sizes, Eval.id, after=after, limit=limit, newest_first=newest_first)
    ids = within_page(rows)
    found = {row.id: row for row in session.scalars(select(Eval).where(Eval.id.in_(ids)))}
    return [found[eval_id] for eval_id in ids if eval_id in found], more or len(ids) < len(rows)


def _judging(project_id: str, model: str) -> Select[str | None]:
    """Select the ids of the evals with a run that judges the model."""
    return select(Task.eval_id).where(
        Task.project_id == project_id,
        Task.eval_id.is_not(None),
        Task.deleted_at.is_(None),
        Task.request["model"].astext == model,
    )


def _by_change(
    session: Session,
    query: Select[str, int],
    project_id: str,
    after: str | None,
    limit: int,
    newest_first: bool,
) -> tuple[list[tuple[str, int]], bool]:
    """Return a page in the order of the last changes. `after` may name an eval that is deleted."""
    changed, key = Eval.updated_at, Eval.id
    if after is not None:
        named = select(changed).where(key == after, Eval.project_id == project_id)
        last = session.scalars(named).one_or_none()
        if last is None:
            raise unknown_cursor(after)
        position, at = tuple_(changed, key), tuple_(last, after)
        query = query.where(position < at if newest_first else position > at)
    order = (changed.desc(), key.desc()) if newest_first else (changed, key)
    rows = [(row[0], row[1]) for row in session.execute(query.order_by(*order).limit(limit + 1))]
    return rows[:limit], len(rows) > limit
