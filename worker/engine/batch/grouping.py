"""Which rows of a round are computed together: beginnings that are shared, micro-batches.

Which rows make a step is the seed's choice alone; only their order inside the step, and so the cut into
micro-batches, follows their content.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np
from numpy.typing import NDArray

from worker.rows import Row

MIN_SHARED = 16  # tokens; fewer in common, beyond those that more rows share, cost more than they save


@dataclass(frozen=True)
class JobRows:
    """What one adapter contributes to a round.

    `weight` is each supervised token's part in its loss, and `row_weights`, if any, is a factor for each row.
    From `draw` follows what is dropped, of `dropout.draw_of`; None drops nothing.
    """

    adapter: str
    rows: Sequence[Row]
    weight: float
    row_weights: Sequence[float] | None = None
    draw: int | None = None


@dataclass(frozen=True)
class Placed:
    """A row in its order, with the number of first tokens that it shares with the row before it.

    `number` is the row's through all jobs, `weight` that of its supervised tokens.
    """

    job: JobRows
    row: Row
    common: int
    number: int
    weight: float

    @property
    def own(self) -> int:
        return len(self.row.tokens_L) - self.common


Group = list[Placed]
"""The rows of a micro-batch: those of one adapter side by side, in the order of their tokens."""


def groups_of(jobs: Sequence[JobRows], max_tokens: int, multiple: int = 1) -> list[Group]:
    """As few groups of at most `max_tokens` tokens, or of one longer row, as hold all rows; of like size.

    Products of a small rest would be inefficient. Where the rows allow it, a multiple of `multiple`.
    """
    rows: list[Placed] = []
    for job in jobs:
        rows += _ordered(job, len(rows))
    fewest = len(_cut(rows, max_tokens))
    fewest = -(-fewest // multiple) * multiple
    lowest = bisect_left(range(max_tokens), True, key=lambda limit: len(_cut(rows, limit)) <= fewest)
    return _cut(rows, lowest)


def _cut(rows: Sequence[Placed], limit: int) -> list[Group]:
    """Groups of neighbours, each filled up to `limit` tokens; each lays its beginning anew."""
    groups: list[Group] = []
    tokens = 0
    for placed in rows:
        tokens += placed.own
        if not groups or tokens > limit:
            groups.append([])
            tokens = len(placed.row.tokens_L)
        groups[-1].append(placed)
    return groups


def _ordered(job: JobRows, first: int) -> Group:
    """The rows in the order of their tokens, so that those with a common beginning are neighbours.

    They are numbered from `first` on, as the job gives them.
    """
    order = sorted(range(len(job.rows)), key=lambda index: job.rows[index].tokens_L.astype(">i4").tobytes())
    rows = [job.rows[index] for index in order]
    common = [0, *(_common(a.tokens_L, b.tokens_L) for a, b in pairwise(rows))]
    return [
        Placed(job, job.rows[index], length, first + index, _weight(job, index))
        for index, length in zip(order, _shared(common, 0), strict=True)
    ]


def _weight(job: JobRows, index: int) -> float:
    return job.weight if job.row_weights is None else job.weight * job.row_weights[index]


def _shared(common: Sequence[int], depth: int) -> Iterator[int]:
    """What is to be shared of what neighbours have in common, where all share `depth` tokens.

    A branch shares what all its rows have in common; beyond that, some of them may share more.
    """
    for branch in _runs_sharing(common, depth + MIN_SHARED):
        yield depth
        if len(branch) > 1:
            inner = min(branch[1:])
            yield from islice(_shared(branch, inner), 1, None)


def _runs_sharing(common: Sequence[int], least: int) -> Iterator[Sequence[int]]:
    """Runs of neighbours that have at least `least` tokens in common."""
    starts = [index for index, length in enumerate(common) if index == 0 or length < least]
    for start, end in pairwise([*starts, len(common)]):
        yield common[start:end]


def _common(a_L: NDArray[np.int32], b_L: NDArray[np.int32]) -> int:
    """How many tokens both begin with."""
    length = min(len(a_L), len(b_L))
    different = np.flatnonzero(a_L[:length] != b_L[:length])
    return int(different[0]) if len(different) else length
