"""Reads the metrics of a job, or of one of its candidates: page by page, or thinned."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Integer, Select, any_, cast, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from api.jobs.metrics.thinning import Series, kept_steps
from core.tables import CandidateMetric, Metric


class Wanted(NamedTuple):
    """The steps that a client asks for: those after step `after`, up to and including step `until`.

    If there are more than `points` steps, they are thinned to about `points`. Without `points`, the first
    `limit` steps are read.
    """

    candidate: int | None
    after: int
    until: int
    limit: int
    points: int | None


class Found(NamedTuple):
    """Steps, oldest first. `thinned` is true if steps between them were left out."""

    steps: Sequence[Metric | CandidateMetric]
    has_more: bool
    thinned: bool


def read(session: Session, job_id: str, wanted: Wanted) -> Found:
    """Return the steps of the job, or of the candidate that is wanted."""
    if wanted.after >= wanted.until:  # the step after the largest one is not a number of the database's
        return Found([], has_more=False, thinned=False)
    series = Series(job_id, wanted.candidate, wanted.after + 1, wanted.until)
    step = series.table.step
    whole: Select[Any] = select(series.table).where(series.mine)
    if wanted.points is not None and _are_more(session, series, wanted.points):
        kept = cast(kept_steps(session, series, wanted.points), ARRAY(Integer))
        few = whole.where(step == any_(kept)).order_by(step)  # looked up in the index
        return Found(session.scalars(few).all(), has_more=False, thinned=True)
    limit = wanted.points or wanted.limit
    rows, has_more = fetch_page(session, whole, step, after=None, limit=limit, newest_first=False)
    return Found([row for (row,) in rows], has_more, thinned=False)


def _are_more(session: Session, series: Series, points: int) -> bool:
    counted = select(series.table.step).where(series.mine).limit(points + 1).subquery()
    return session.scalars(select(func.count()).select_from(counted)).one() > points
