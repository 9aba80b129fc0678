"""Reads the metrics of a job, or of one of its candidates: page by page, or thinned.

A chart of a thinned series looks like one of the whole series. The series is cut into stretches of
neighbouring steps, and each stretch keeps the steps at which some value is the smallest or the largest.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import CTE, ColumnElement, Double, Integer, Select, any_, cast, func, or_, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import CandidateMetric, Metric

# These values never fall, so the first and the last step of a stretch have its smallest and largest values.
# `candidate` is only the number of a candidate.
WITHOUT_OUTLIERS = {"step", "total_steps", "candidate", "trained_seconds", "trained_tokens"}
SAMPLED = 997  # every 997th step is read to find the names of the values

Table = type[Metric] | type[CandidateMetric]


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
    table: Table = Metric if wanted.candidate is None else CandidateMetric
    mine = (table.job_id == job_id) & table.step.between(wanted.after + 1, wanted.until)
    if wanted.candidate is not None:
        mine &= CandidateMetric.number == wanted.candidate
    whole: Select[Any] = select(table).where(mine)
    if wanted.points is not None and _are_more(session, table, mine, wanted.points):
        kept = session.scalars(_kept(session, table, mine, wanted.points)).all()
        few = whole.where(table.step == any_(cast(kept, ARRAY(Integer))))  # looked up in the index
        thinned = session.scalars(few.order_by(table.step)).all()
        return Found(thinned, has_more=False, thinned=True)
    limit = wanted.points or wanted.limit
    rows, has_more = fetch_page(session, whole, table.step, after=None, limit=limit, newest_first=False)
    return Found([row for (row,) in rows], has_more, thinned=False)


def _are_more(session: Session, table: Table, mine: ColumnElement[bool], points: int) -> bool:
    counted = select(table.step).where(mine).limit(points + 1).subquery()
    return session.scalars(select(func.count()).select_from(counted)).one() > points


def _kept(session: Session, table: Table, mine: ColumnElement[bool], points: int) -> Select[int]:
    """Return a query of the steps to keep.

    They are the first and the last step of each stretch, and the steps of its smallest and largest values.
    Among equal values, the earliest step is kept.
    """
    first, last = session.execute(select(func.min(table.step), func.max(table.step)).where(mine)).one()
    names = _names(session, table, mine, last)
    stretches = max(1, points // (2 + 2 * len(names)))
    width = (last - first) // stretches + 1
    columns = [cast(table.data[name].astext, Double).label(f"value_{at}") for at, name in enumerate(names)]
    stretch = ((table.step - first) // width).label("stretch")
    return _extremes(select(table.step, stretch, *columns).where(mine).cte("steps"), len(columns))


def _names(session: Session, table: Table, mine: ColumnElement[bool], last: int) -> list[str]:
    """Return the names of the values that may have outliers, sorted.

    Most values are in every step, so a sample of the steps has them. The values of a validation are only in
    steps with a validation, so the last step with each kind of validation is read too.
    """
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
    """Return a query of the steps with a stretch's smallest and largest values, its first and its last step.

    It computes all minima and maxima first, and then looks for their steps. This is quicker than one
    aggregate of pairs of value and step.
    """
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
