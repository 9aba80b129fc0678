"""Reads of the metrics of a job, or of one of its candidates: page by page, or thinned.

Of a long series that is thinned the picture stays: of each stretch of neighbouring steps those are kept at
which some value is the smallest or the largest.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import CTE, ColumnElement, Double, Integer, Select, any_, cast, func, or_, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import CandidateMetric, Metric

# The smallest and the largest of these are a stretch's first and last.
WITHOUT_OUTLIERS = {"step", "total_steps", "candidate", "trained_seconds", "trained_tokens"}
SAMPLED = 997  # one step in so many is asked which values there are

Table = type[Metric] | type[CandidateMetric]


class Wanted(NamedTuple):
    """The steps beyond `after` up to `until`: a page of `limit`, or thinned to about `points` where given."""

    candidate: int | None
    after: int
    until: int
    limit: int
    points: int | None


class Found(NamedTuple):
    """Oldest first."""

    steps: Sequence[Metric | CandidateMetric]
    has_more: bool
    thinned: bool


def read(session: Session, job_id: str, wanted: Wanted) -> Found:
    table: Table = Metric if wanted.candidate is None else CandidateMetric
    mine = (table.job_id == job_id) & table.step.between(wanted.after + 1, wanted.until)
    if wanted.candidate is not None:
        mine &= CandidateMetric.number == wanted.candidate
    whole: Select[Any] = select(table).where(mine)
    if wanted.points is not None and _are_more(session, table, mine, wanted.points):
        kept = session.scalars(_kept(session, table, mine, wanted.points)).all()
        few = whole.where(table.step == any_(cast(kept, ARRAY(Integer))))  # each by the index
        thinned = session.scalars(few.order_by(table.step)).all()
        return Found(thinned, has_more=False, thinned=True)
    limit = wanted.points or wanted.limit
    rows, has_more = fetch_page(session, whole, table.step, after=None, limit=limit, newest_first=False)
    return Found([row for (row,) in rows], has_more, thinned=False)


def _are_more(session: Session, table: Table, mine: ColumnElement[bool], points: int) -> bool:
    counted = select(table.step).where(mine).limit(points + 1).subquery()
    return session.scalars(select(func.count()).select_from(counted)).one() > points


def _kept(session: Session, table: Table, mine: ColumnElement[bool], points: int) -> Select[int]:
    """Of each stretch the first step, the last, and those of outliers, of equal ones the earliest."""
    first, last = session.execute(select(func.min(table.step), func.max(table.step)).where(mine)).one()
    names = _names(session, table, mine, last)
    stretches = max(1, points // (2 + 2 * len(names)))
    width = (last - first) // stretches + 1
    columns = [cast(table.data[name].astext, Double).label(f"value_{at}") for at, name in enumerate(names)]
    stretch = ((table.step - first) // width).label("stretch")
    return _extremes(select(table.step, stretch, *columns).where(mine).cte("steps"), len(columns))


def _names(session: Session, table: Table, mine: ColumnElement[bool], last: int) -> list[str]:
    """Of the values that may have outliers: each step has most of them, one with a validation the others."""
    data = select(table.data).where(mine)
    validated = [
        data.where(table.data[name].astext.is_not(None)).order_by(table.step.desc()).limit(1)
        for name in ("valid_loss", "full_valid_loss")
    ]
    sampled = data.where(or_(table.step % SAMPLED == 0, table.step == last))
    asked = union_all(sampled, *validated).subquery()
    found = session.scalars(select(func.jsonb_object_keys(asked.c.data)).distinct())
    return sorted(set(found) - WITHOUT_OUTLIERS)


def _extremes(steps: CTE, values: int) -> Select[int]:
    """Minima and maxima first, and then where they stand: quicker than one aggregate of pairs."""
    step, stretch = steps.c.step, steps.c.stretch
    named = [steps.c[f"value_{at}"] for at in range(values)]
    least = [func.min(value).label(f"least_{at}") for at, value in enumerate(named)]
    most = [func.max(value).label(f"most_{at}") for at, value in enumerate(named)]
    ends = select(stretch, *least, *most).group_by(stretch).cte("ends")
    places = [
        func.min(step).filter(value == ends.c[f"{end}_{at}"])
        for at, value in enumerate(named)
        for end in ("least", "most")
    ]
    kept = (
        select(func.unnest(array([func.min(step), func.max(step), *places])).label("step"))
        .select_from(steps.join(ends, stretch == ends.c.stretch))
        .group_by(stretch)
        .subquery()
    )
    return select(kept.c.step)
