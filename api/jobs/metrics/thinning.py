"""Chooses steps of a long series so that a chart of them looks like one of the whole series.

The series is cut into stretches of neighbouring steps. Each stretch keeps its first and its last step, and
the steps at which some value is the smallest or the largest. A long stretch consists of whole blocks. The
database already has the extremes of each block (`MetricExtremes`), so only the other steps are read.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Double, Integer, Select, cast, func, select, text, true, union_all
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.orm import Session

from core.tables import CandidateMetric, Metric, MetricExtremes
from core.tables.jobs.metric_extremes import BLOCK_STEPS, OF_THE_JOB

# Postgres would soon plan for unknown steps, expect few rows, and take eight times as long
PLAN_FOR_EACH_SERIES = text("SET LOCAL plan_cache_mode = force_custom_plan")
SHORTEST = 2 * BLOCK_STEPS  # steps of a stretch that consists of blocks: rounding makes it half as long again

Gap = tuple[int, int]  # the first and the last step


class Series(NamedTuple):
    """The steps of a job, or of one of its candidates, from step `first` to step `last`."""

    job_id: str
    candidate: int | None
    first: int
    last: int

    @property
    def table(self) -> type[Metric] | type[CandidateMetric]:
        return Metric if self.candidate is None else CandidateMetric

    @property
    def mine(self) -> ColumnElement[bool]:
        mine = (self.table.job_id == self.job_id) & self.table.step.between(self.first, self.last)
        return mine if self.candidate is None else mine & (CandidateMetric.number == self.candidate)

    @property
    def whole_blocks(self) -> ColumnElement[bool]:
        """Selects the extremes of the blocks that lie between the first and the last step."""
        first, end = -(-self.first // BLOCK_STEPS), (self.last + 1) // BLOCK_STEPS
        of_series = OF_THE_JOB if self.candidate is None else self.candidate
        mine = (MetricExtremes.job_id == self.job_id) & (MetricExtremes.candidate == of_series)
        return mine & MetricExtremes.block.between(first, end - 1)


def kept_steps(session: Session, wanted: Series, points: int) -> Sequence[int]:
    """Return the steps to keep, about `points` at most. Among equal values, the earliest step is kept."""
    session.execute(PLAN_FOR_EACH_SERIES)
    steps = wanted.table.step
    first, last = session.execute(select(func.min(steps), func.max(steps)).where(wanted.mine)).one()
    series = wanted._replace(first=first, last=last)
    blocks, names = _blocks(session, series)
    # Stretches begin at multiples of their width, so there may be one more of them
    stretches = max(1, points // (2 * max(1, names)) - 1)
    width = (last - first) // stretches + 1
    if width < SHORTEST:
        return session.scalars(_kept(_of_steps(series, width, [(first, last)]))).all()
    width = -(-width // BLOCK_STEPS) * BLOCK_STEPS
    parts = _of_blocks(series, width), _of_steps(series, width, [*_gaps(series, blocks)])
    return session.scalars(_kept(union_all(*parts))).all()


def _blocks(session: Session, series: Series) -> tuple[Collection[int], int]:
    """Return the blocks whose extremes are known, and how many values they have."""
    block, name = MetricExtremes.block, MetricExtremes.name
    found = select(func.array_agg(block.distinct()), func.count(name.distinct()))
    blocks, names = session.execute(found.where(series.whole_blocks)).one()
    return blocks or [], names


def _gaps(series: Series, blocks: Collection[int]) -> Iterator[Gap]:
    """Yield the steps of the series that lie between these blocks."""
    first = series.first
    for block in sorted(blocks):
        if first < block * BLOCK_STEPS:
            yield first, block * BLOCK_STEPS - 1
        first = (block + 1) * BLOCK_STEPS
    if first <= series.last:
        yield first, series.last


def _of_blocks(series: Series, width: int) -> Select[*tuple[Any, ...]]:
    """Return a query of the extremes of the known blocks, with the stretches in which they lie."""
    extremes = MetricExtremes
    stretch = extremes.block * BLOCK_STEPS // width
    ends = extremes.least, extremes.least_step, extremes.most, extremes.most_step
    return select(stretch.label("stretch"), extremes.name, *ends).where(series.whole_blocks)


def _of_steps(series: Series, width: int, gaps: Sequence[Gap]) -> Select[*tuple[Any, ...]]:
    """Return the same columns, read from single steps.

    Each value is the smallest and the largest one of its step.
    """
    table = series.table
    firsts, lasts = (
        cast(list(ends), ARRAY(Integer)) for ends in (zip(*gaps, strict=True) if gaps else ((), ()))
    )
    gap = func.unnest(firsts, lasts).table_valued("first", "last").render_derived(name="gap")
    found = func.values_of_step(table.step, table.data).table_valued("name", "value").lateral("found")
    return (
        select(
            (table.step // width).label("stretch"),
            found.c.name,
            found.c.value.label("least"),
            table.step.label("least_step"),
            found.c.value.label("most"),
            table.step.label("most_step"),
        )
        .select_from(gap)
        .join(table, series.mine & table.step.between(gap.c.first, gap.c.last))
        .join(found, true())
    )


def _kept(extremes: Any) -> Select[int]:
    """Return a query of the steps with a stretch's smallest and largest values.

    Arrays are compared element by element. So of equal values, the earliest step is the smallest or largest.
    """
    of = extremes.subquery()
    least = func.min(array([of.c.least, cast(of.c.least_step, Double)]), type_=ARRAY(Double))
    most = func.max(array([of.c.most, cast(-of.c.most_step, Double)]), type_=ARRAY(Double))
    both = (
        select(least[2].label("least"), (-most[2]).label("most")).group_by(of.c.stretch, of.c.name).subquery()
    )
    return select(cast(func.unnest(array([both.c.least, both.c.most])), Integer)).distinct()
