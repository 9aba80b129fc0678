"""Decides which rows of a round are computed together: in one micro-batch, and with a shared beginning.

Only the job's seed decides which rows make a step. The content of these rows decides their order inside the
step, and so how the step is cut into micro-batches.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, islice, pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from worker.rows.row import Row

# A beginning that some rows share may itself begin with a shorter one that more rows share. The longer one is
# used only if it has at least this many tokens more, because to share fewer tokens costs more than it saves.
MIN_SHARED = 16

# At most so many rows are read at once, because the rows of an evaluation may not fit into memory.
ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class JobRows:
    """The rows that one adapter contributes to a round.

    `weight` is the weight of each supervised token in the adapter's loss. `row_weights`, if given, has a
    factor for each row. `dropout_seed` is the seed of `dropout.step_seed`; with None no input is dropped.
    The rows of one example stand side by side. They come into one micro-batch if `fits_together`. `apart`
    says whether the rows are cut into micro-batches without those of other adapters. `first` is the number of
    the first row, counted through all jobs.
    """

    adapter: str
    rows: Sequence[Row]
    weight: float
    row_weights: Sequence[float] | None = None
    dropout_seed: int | None = None
    rows_per_example: int = 1
    apart: bool = False
    first: int = 0

    def part(self, start: int, end: int) -> "JobRows":
        """Return the rows from number `start` up to `end` alone."""
        weights = self.row_weights and self.row_weights[start:end]
        rows = self.rows[start:end]
        return replace(self, rows=rows, row_weights=weights, first=self.first + start)


@dataclass(frozen=True)
class Placed:
    """A row, with its relation to the row before it in the order of a round.

    `common` is the number of first tokens that it shares with the row before it. `number` counts the rows
    through all jobs. `weight` is the weight of each supervised token of the row.
    """

    job: JobRows
    row: Row
    common: int
    number: int
    weight: float

    @property
    def own(self) -> int:
        """The number of the row's tokens that it does not share with the row before it."""
        return len(self.row.tokens_L) - self.common


Filled = TypeVar("Filled")

Group = list[Placed]
"""The rows of a micro-batch. Rows of one adapter stand side by side, in the order of their tokens."""


def group_tokens(group: Group) -> int:
    """Return how many tokens of a micro-batch are computed: a beginning that rows share counts once."""
    return group[0].common + sum(placed.own for placed in group)


def numbered(jobs: Sequence[JobRows]) -> list[JobRows]:
    """Number the rows through the jobs in their order."""
    firsts = accumulate((len(job.rows) for job in jobs), initial=0)
    return [replace(job, first=first) for job, first in zip(jobs, firsts, strict=False)]


def portions(jobs: Sequence[JobRows]) -> Iterator[list[JobRows]]:
    """Yield the rows of the jobs in their order, at most `ROWS_AT_ONCE` at a time, and only whole examples.

    A job's rows are cut where they would be cut without the other jobs.
    """
    portion, count = list[JobRows](), 0
    for job in jobs:
        most = ROWS_AT_ONCE - ROWS_AT_ONCE % job.rows_per_example
        for start in range(0, len(job.rows), most):
            end = min(start + most, len(job.rows))
            if portion and count + end - start > ROWS_AT_ONCE:
                yield portion
                portion, count = [], 0
            portion.append(job.part(start, end))
            count += end - start
    if portion:
        yield portion


def fits_together(rows: Sequence[Row], max_tokens: int) -> bool:
    """Return whether the rows of an example are computed in one micro-batch, with their beginning once."""
    ordered = sorted(rows, key=lambda row: _token_order(row.tokens_L))
    common = sum(length for a, b in pairwise(ordered) if (length := _common(a, b)) >= MIN_SHARED)
    return sum(len(row.tokens_L) for row in ordered) - common <= max_tokens


def cut_together(jobs: Sequence[JobRows]) -> list[list[JobRows]]:
    """Return one list of all jobs that share cuts, and then one list for each job that is cut apart."""
    shared = [job for job in jobs if not job.apart]
    return [*([shared] if shared else []), *([job] for job in jobs if job.apart)]


def groups_of(jobs: Sequence[JobRows], max_tokens: int, multiple: int = 1) -> list[Group]:
    """Return as few groups as can hold all rows, with similar numbers of tokens.

    A group has at most `max_tokens` tokens, or is one longer row. An example that is kept together may have
    MIN_SHARED tokens more. The groups have similar sizes because the products of a small last group would be
    inefficient. The number of groups is a multiple of `multiple` if the rows allow it.
    """
    units = [unit for job in jobs for unit in _ordered(job, max_tokens)]
    return evenly_filled(lambda limit: _cut(units, limit), max_tokens, multiple)


def evenly_filled(fill: Callable[[int], list[Filled]], most: int, multiple: int = 1) -> list[Filled]:
    """Return what `fill` makes with the lowest limit at which it makes as few as with the limit `most`.

    `fill` fills one thing after the other up to a limit. They may be more, up to the next multiple of
    `multiple`.
    """
    fewest = -(-len(fill(most)) // multiple) * multiple
    return fill(bisect_left(range(most), True, key=lambda limit: len(fill(limit)) <= fewest))


def _cut(units: Sequence[Group], limit: int) -> list[Group]:
    """Return groups of neighbours, each filled with whole units up to `limit` tokens.

    The first row of a group brings all of its tokens, since a beginning is shared only inside a group.
    """
    groups: list[Group] = []
    tokens = 0
    for unit in units:
        own = sum(placed.own for placed in unit)
        tokens += own
        if not groups or tokens > limit:
            groups.append([])
            tokens = own + unit[0].common
        groups[-1] += unit
    return groups


def _ordered(job: JobRows, max_tokens: int) -> list[Group]:
    """Return the units in the order of their tokens, so that rows with a common beginning are neighbours.

    A unit is what is not cut: an example that fits together, or a single row. The rows are numbered in the
    order in which the job gives them.
    """
    given = list(job.rows)
    keys = [_token_order(row.tokens_L) for row in given]
    units = [sorted(unit, key=keys.__getitem__) for unit in _units(given, job.rows_per_example, max_tokens)]
    units.sort(key=lambda unit: keys[unit[0]])
    order = [index for unit in units for index in unit]
    common = [0, *(_common(given[a], given[b]) for a, b in pairwise(order))]
    placed = (
        Placed(job, given[index], length, job.first + index, _weight(job, index))
        for index, length in zip(order, _shared(common), strict=True)
    )
    return [list(islice(placed, len(unit))) for unit in units]


def _units(rows: Sequence[Row], rows_per_example: int, max_tokens: int) -> Iterator[Sequence[int]]:
    """Yield the numbers of the rows that are kept together."""
    for start in range(0, len(rows), rows_per_example):
        example = range(start, start + rows_per_example)
        if rows_per_example > 1 and fits_together(rows[start : start + rows_per_example], max_tokens):
            yield example
        else:
            yield from ([index] for index in example)


def _token_order(tokens_L: NDArray[np.int32]) -> bytes:
    """Return a key by which rows are sorted as lists of their tokens would be."""
    return tokens_L.astype(">i4").tobytes()


def _weight(job: JobRows, index: int) -> float:
    return job.weight if job.row_weights is None else job.weight * job.row_weights[index]


def _shared(common: Sequence[int]) -> list[int]:
    """Return how many tokens each row is to share with the row before it.

    `common` holds how many first tokens of each row are equal to those of the row before it; 0 for the first
    row. All rows of a branch share the first tokens that are equal in all of them. Some of its rows may share
    more. A chain of rows may be as deep as it is long, so nothing here calls itself.
    """
    parents = _parents(common)
    shared = [0] * len(common)
    for index in sorted(range(1, len(common)), key=common.__getitem__):
        outer = shared[parents[index]]
        shared[index] = common[index] if common[index] >= outer + MIN_SHARED else outer
    return shared


def _parents(common: Sequence[int]) -> list[int]:
    """Return a tree of the rows, as the parent of each. The first row is the root.

    A row has no more in common than the rows below it, which are its neighbours on both sides. Of rows with
    equally much in common, the first is above the others.
    """
    parents, path = [0] * len(common), [0]
    for index in range(1, len(common)):
        below = index
        while common[path[-1]] > common[index]:
            below = path.pop()
        parents[below] = index
        parents[index] = path[-1]
        path.append(index)
    return parents


def _common(a: Row, b: Row) -> int:
    """Return the number of first tokens that are computed alike in both.

    They are equal, and the adapter acts on the same of them.
    """
    length = min(len(a.tokens_L), len(b.tokens_L))
    if a.acts_from != b.acts_from:
        length = min(length, a.acts_from, b.acts_from)
    different = np.flatnonzero(a.tokens_L[:length] != b.tokens_L[:length])
    return int(different[0]) if len(different) else length
