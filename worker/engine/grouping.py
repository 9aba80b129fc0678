"""Which rows of a round are computed together: beginnings that are shared, micro-batches.

Which rows make a step is the seed's choice alone; only their order inside the step, and so the cut into
micro-batches, follows their content.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from worker.data.render import Row

MIN_SHARED = 16  # tokens; a shorter common beginning costs more in small products than it saves


@dataclass(frozen=True)
class JobRows:
    """What one adapter contributes to a round. `weight` is each supervised token's part in its mean loss."""

    adapter: str
    rows: Sequence[Row]
    weight: float


@dataclass(frozen=True)
class Placed:
    """A row in its order, with the number of first tokens that it has in common with the row before it."""

    job: JobRows
    row: Row
    common: int

    @property
    def own(self) -> int:
        return len(self.row.tokens_L) - self.common


Group = list[Placed]
"""The rows of a micro-batch: those of one adapter side by side, in the order of their tokens."""


def groups_of(jobs: Sequence[JobRows], max_tokens: int, multiple: int = 1) -> list[Group]:
    """As few groups of at most `max_tokens` tokens, or of one longer row, as hold all rows; of like size.

    Products of a small rest would be inefficient. Where the rows allow it, a multiple of `multiple`.
    """
    rows = [placed for job in jobs for placed in _ordered(job)]
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


def _ordered(job: JobRows) -> Group:
    """The rows in the order of their tokens, so that those with a common beginning are neighbours."""
    rows = sorted(job.rows, key=lambda row: row.tokens_L.astype(">i4").tobytes())
    common = [0, *(_common(a.tokens_L, b.tokens_L) for a, b in pairwise(rows))]
    return [Placed(job, row, length) for row, length in zip(rows, common, strict=True)]


def _common(a_L: NDArray[np.int32], b_L: NDArray[np.int32]) -> int:
    """Tokens that both begin with; 0 where they are too few to be shared."""
    length = min(len(a_L), len(b_L))
    different = np.flatnonzero(a_L[:length] != b_L[:length])
    common = int(different[0]) if len(different) else length
    return common if common >= MIN_SHARED else 0
