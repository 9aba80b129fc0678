"""A round's rows laid end to end on token axes: no padding, shared beginnings once, cut to what fits.

Rows of one adapter that begin alike within a step share that beginning: its tokens are computed once, and
each row's rest sees them. Which rows make a step is the seed's choice alone; only their order inside the
step, and so the cut into micro-batches, follows their content.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from worker.data.render import Row
from worker.engine.layout import MicroBatch, Run, Segment

MIN_SHARED = 16  # tokens; a shorter common beginning costs more in small products than it saves
WIDE_EFFICIENCY = 0.85  # of all threads on one axis, over that of each on its own: measured on two cores


@dataclass(frozen=True)
class Share:
    """What one adapter contributes to a round. `weight` is each supervised token's part in its mean loss."""

    adapter: str
    rows: Sequence[Row]
    weight: float


@dataclass(frozen=True)
class _Placed:
    """A row in its order, with the number of first tokens that it has in common with the row before it."""

    share: Share
    row: Row
    common: int

    @property
    def own(self) -> int:
        return len(self.row.tokens_L) - self.common


Groups = list[list[_Placed]]


def pack(
    shares: Sequence[Share], max_tokens: int, device: torch.device, multiple: int = 1
) -> Iterator[MicroBatch]:
    """Micro-batches of at most `max_tokens` tokens, or of one longer row; an adapter's rows stay together.

    As few as possible, of like size, since products of a small rest would be inefficient, and where the rows
    allow it a multiple of `multiple`, for as many ranks.
    """
    for (batch,) in pack_waves(shares, max_tokens, device, 1, multiple):
        yield batch


def pack_waves(
    shares: Sequence[Share], max_tokens: int, device: torch.device, lanes: int, multiple: int = 1
) -> Iterator[list[MicroBatch]]:
    """The micro-batches in waves of one or of up to `lanes`, with at most `max_tokens` tokens in a wave.

    A wave of one is for all lanes together. Beginnings are laid anew in every micro-batch, and the lanes wait
    for the longest; where that costs more than lanes gain, each wave has one.
    """
    rows = [placed for share in shares for placed in _ordered(share)]
    waves = [[group] for group in _even(rows, max_tokens, multiple)]
    if lanes > 1:
        side_by_side = _side_by_side(rows, max_tokens // lanes, lanes, multiple)
        if lanes * sum(_tokens(wave[0]) for wave in side_by_side) * WIDE_EFFICIENCY < sum(
            _tokens(wave[0]) for wave in waves
        ):
            waves = side_by_side
    for wave in waves:
        yield [_lay(group, device) for group in wave]


def _side_by_side(rows: Sequence[_Placed], limit: int, lanes: int, multiple: int) -> list[Groups]:
    """Waves of `lanes` groups of like size, the longest of a wave first."""
    groups = _even(rows, limit, lanes * multiple)
    if rows[0].share is rows[-1].share:  # of several jobs, each would be in every group: small products
        groups = min(groups, _spread(rows, len(groups)), key=lambda groups: max(map(_tokens, groups)))
    groups.sort(key=_tokens, reverse=True)
    return [groups[start : start + lanes] for start in range(0, len(groups), lanes)]


def _even(rows: Sequence[_Placed], limit: int, multiple: int) -> Groups:
    """As few groups of at most `limit` tokens as hold the rows, of like size; if possible a multiple."""
    fewest = len(_cut(rows, limit))
    fewest = -(-fewest // multiple) * multiple
    lowest = bisect_left(range(limit), True, key=lambda limit: len(_cut(rows, limit)) <= fewest)
    return _cut(rows, lowest)


def _spread(rows: Sequence[_Placed], count: int) -> Groups:
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


def _picked(rows: Sequence[_Placed], indices: Sequence[int]) -> list[_Placed]:
    """Some of the rows. In their order, two have in common the least that neighbours between them have."""
    pairs = pairwise([indices[0], *indices])
    return [
        replace(rows[here], common=min((placed.common for placed in rows[before + 1 : here + 1]), default=0))
        for before, here in pairs
    ]


def _cut(rows: Sequence[_Placed], limit: int) -> Groups:
    """Groups of neighbours, each filled up to `limit` tokens; each lays its beginning anew."""
    groups: Groups = []
    tokens = 0
    for placed in rows:
        tokens += placed.own
        if not groups or tokens > limit:
            groups.append([])
            tokens = len(placed.row.tokens_L)
        groups[-1].append(placed)
    return groups


def _tokens(group: Sequence[_Placed]) -> int:
    """On the axis of a micro-batch, which lays the first row whole."""
    return group[0].common + sum(placed.own for placed in group)


def _ordered(share: Share) -> list[_Placed]:
    """The rows in the order of their tokens, so that those with a common beginning are neighbours."""
    rows = sorted(share.rows, key=lambda row: row.tokens_L.astype(">i4").tobytes())
    common = [0, *(_common(a.tokens_L, b.tokens_L) for a, b in pairwise(rows))]
    return [_Placed(share, row, length) for row, length in zip(rows, common, strict=True)]


def _common(a_L: NDArray[np.int32], b_L: NDArray[np.int32]) -> int:
    """Tokens that both begin with; 0 where they are too few to be shared."""
    length = min(len(a_L), len(b_L))
    different = np.flatnonzero(a_L[:length] != b_L[:length])
    common = int(different[0]) if len(different) else length
    return common if common >= MIN_SHARED else 0


@dataclass
class _Axis:
    """The token axis of a micro-batch as it grows."""

    length: int = 0
    segments: list[Segment] = field(default_factory=list)
    adapter_rows: dict[str, slice] = field(default_factory=dict)
    tokens: list[NDArray[np.int32]] = field(default_factory=list)
    positions: list[NDArray[np.int64]] = field(default_factory=list)
    supervised: list[NDArray[np.int64]] = field(default_factory=list)
    labels: list[NDArray[np.int32]] = field(default_factory=list)
    weights: list[NDArray[np.float32]] = field(default_factory=list)

    def add_segment(self, tokens_L: NDArray[np.int32], prefix: tuple[Run, ...]) -> Run:
        """Append tokens that see `prefix`."""
        position = sum(end - start for start, end in prefix)
        start, end = self.length, self.length + len(tokens_L)
        self.segments.append(Segment(start, end, prefix))
        self.tokens.append(tokens_L)
        self.positions.append(np.arange(position, position + len(tokens_L)))
        self.length = end
        return start, end

    def supervise(self, placed: _Placed, runs: Sequence[Run]) -> None:
        """Let the row, which stands in `runs`, learn its tokens."""
        row = placed.row
        learnt = np.flatnonzero(row.learnt_L[1:])
        where = np.concatenate([np.arange(start, end) for start, end in runs])
        self.supervised.append(where[learnt])
        self.labels.append(row.tokens_L[learnt + 1])
        self.weights.append(np.full(len(learnt), placed.share.weight, dtype=np.float32))

    def micro_batch(self, device: torch.device) -> MicroBatch:
        supervised = np.concatenate(self.supervised)
        order = np.argsort(supervised, kind="stable")

        def on_device(values: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(values).to(device)

        return MicroBatch(
            tokens_T=on_device(np.concatenate(self.tokens)).long(),
            positions_T=on_device(np.concatenate(self.positions)),
            segments=self.segments,
            adapter_rows=self.adapter_rows,
            supervised_S=on_device(supervised[order]),
            labels_S=on_device(np.concatenate(self.labels)[order]).long(),
            weights_S=on_device(np.concatenate(self.weights)[order]),
        )


def _lay(rows: Sequence[_Placed], device: torch.device) -> MicroBatch:
    axis = _Axis()
    for share, group in _by_share(rows):
        start = axis.length
        _lay_trie(axis, group, 0, ())
        axis.adapter_rows[share.adapter] = slice(start, axis.length)
    return axis.micro_batch(device)


def _lay_trie(axis: _Axis, rows: Sequence[_Placed], depth: int, prefix: tuple[Run, ...]) -> None:
    """Lay rows that share their first `depth` tokens, which stand in the runs of `prefix`."""
    for group in _branches(rows, depth):
        common = min((placed.common for placed in group[1:]), default=len(group[0].row.tokens_L))
        runs = prefix
        if common > depth:
            runs = (*prefix, axis.add_segment(group[0].row.tokens_L[depth:common], prefix))
        ended = [placed for placed in group if len(placed.row.tokens_L) == common]
        for placed in ended:
            axis.supervise(placed, runs)
        _lay_trie(axis, group[len(ended) :], common, runs)


def _branches(rows: Sequence[_Placed], depth: int) -> Iterator[list[_Placed]]:
    """Neighbours that share enough tokens beyond `depth` to lay them once."""
    branch: list[_Placed] = []
    for placed in rows:
        if branch and placed.common < depth + MIN_SHARED:
            yield branch
            branch = []
        branch.append(placed)
    if branch:
        yield branch


def _by_share(rows: Sequence[_Placed]) -> Iterator[tuple[Share, list[_Placed]]]:
    start = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index].share is not rows[start].share:
            yield rows[start].share, list(rows[start:index])
            start = index
