"""Which rows of a round are computed together: beginnings that are shared, micro-batches, lanes.

Which rows make a step is the seed's choice alone; only their order inside the step, and so the cut into
micro-batches, follows their content.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from worker.data.render import Row

MIN_SHARED = 16  # tokens; a shorter common beginning costs more in small products than it saves
WIDE_EFFICIENCY = 0.85  # of all threads on one axis, over that of each on its own: measured on two cores


@dataclass(frozen=True)
class Share:
    """What one adapter contributes to a round. `weight` is each supervised token's part in its mean loss."""

    adapter: str
    rows: Sequence[Row]
    weight: float


@dataclass(frozen=True)
class Placed:
    """A row in its order, with the number of first tokens that it has in common with the row before it."""

    share: Share
    row: Row
    common: int

    @property
    def own(self) -> int:
        return len(self.row.tokens_L) - self.common


Group = list[Placed]
"""The rows of a micro-batch: those of one adapter side by side, in the order of their tokens."""


def waves_of(shares: Sequence[Share], max_tokens: int, lanes: int, multiple: int) -> list[list[Group]]:
    """Waves of one group, or of up to `lanes`, with at most `max_tokens` tokens in a wave, or one longer row.

    As few groups as possible, of like size, since products of a small rest would be inefficient, and where
    the rows allow it a multiple of `multiple`. A wave of one is for all lanes together. Beginnings are laid
    anew in every group, and the lanes wait for the longest; where that costs more than lanes gain, each wave
    has one.
    """
    rows = [placed for share in shares for placed in _ordered(share)]
    waves = [[group] for group in _even(rows, max_tokens, multiple)]
    if lanes > 1:
        side_by_side = _side_by_side(rows, max_tokens // lanes, lanes, multiple)
        if lanes * _length(side_by_side) * WIDE_EFFICIENCY < _length(waves):
            return side_by_side
    return waves


def _length(waves: Sequence[Sequence[Group]]) -> int:
    """Tokens of the longest group of each wave, one after another."""
    return sum(max(map(_tokens, wave)) for wave in waves)


def _side_by_side(rows: Sequence[Placed], limit: int, lanes: int, multiple: int) -> list[list[Group]]:
    """Waves of `lanes` groups of like size."""
    groups = _even(rows, limit, lanes * multiple)
    if rows[0].share is rows[-1].share:  # of several jobs, each would be in every group: small products
        groups = min(groups, _spread(rows, len(groups)), key=lambda groups: max(map(_tokens, groups)))
    groups.sort(key=_tokens)
    return [groups[start : start + lanes] for start in range(0, len(groups), lanes)]


def _even(rows: Sequence[Placed], limit: int, multiple: int) -> list[Group]:
    """As few groups of at most `limit` tokens as hold the rows, of like size; if possible a multiple."""
    fewest = len(_cut(rows, limit))
    fewest = -(-fewest // multiple) * multiple
    lowest = bisect_left(range(limit), True, key=lambda limit: len(_cut(rows, limit)) <= fewest)
    return _cut(rows, lowest)


def _spread(rows: Sequence[Placed], count: int) -> list[Group]:
    """At most `count` groups, more even in length than neighbours would be.

    Long rows first, each into the shortest group; then the longest and the shortest group exchange rows for
    as long as that brings them closer.
    """
    groups: list[list[int]] = [[] for _ in range(count)]
    lengths = np.array([len(placed.row.tokens_L) for placed in rows])
    totals = np.zeros(count, dtype=np.int64)
    for index in np.argsort(-lengths, kind="stable").tolist():
        shortest = int(totals.argmin())
        groups[shortest].append(index)
        totals[shortest] += lengths[index]
    while True:
        long, short = int(totals.argmax()), int(totals.argmin())
        gap = totals[long] - totals[short]
        gains = lengths[groups[long]][:, None] - lengths[groups[short]]
        i, j = np.unravel_index(np.abs(gap - 2 * gains).argmin(), gains.shape)
        if not 0 < gains[i, j] < gap:
            break
        groups[long][i], groups[short][j] = groups[short][j], groups[long][i]
        totals[long] -= gains[i, j]
        totals[short] += gains[i, j]
    return [_picked(rows, sorted(group)) for group in groups]


def _picked(rows: Sequence[Placed], indices: Sequence[int]) -> Group:
    """Some of the rows. In their order, two have in common the least that neighbours between them have."""
    pairs = pairwise([indices[0], *indices])
    return [
        replace(rows[here], common=min((placed.common for placed in rows[before + 1 : here + 1]), default=0))
        for before, here in pairs
    ]


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


def _tokens(group: Sequence[Placed]) -> int:
    """On the axis of a micro-batch, which lays the first row whole."""
    return group[0].common + sum(placed.own for placed in group)


def _ordered(share: Share) -> Group:
    """The rows in the order of their tokens, so that those with a common beginning are neighbours."""
    rows = sorted(share.rows, key=lambda row: row.tokens_L.astype(">i4").tobytes())
    common = [0, *(_common(a.tokens_L, b.tokens_L) for a, b in pairwise(rows))]
    return [Placed(share, row, length) for row, length in zip(rows, common, strict=True)]


def _common(a_L: NDArray[np.int32], b_L: NDArray[np.int32]) -> int:
    """Tokens that both begin with; 0 where they are too few to be shared."""
    length = min(len(a_L), len(b_L))
    different = np.flatnonzero(a_L[:length] != b_L[:length])
    common = int(different[0]) if len(different) else length
    return common if common >= MIN_SHARED else 0
