"""How a recurrence with a state goes through a forest of segments: in chunks, from the rows' starts outwards.

The state before a row's first token is zero. The state before any other chunk is the one after the chunk
before it, which may end a shared beginning. So chunks with equally many chunks before them depend on none of
each other, and are computed at once: they are a level.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import torch
from torch import Tensor

from worker.engine.batch.micro_batch import Segment, Span

CHUNK = 64
"""The most tokens of a chunk."""

WAVE = 16
"""The most chunks of a wave. Their inner values take memory at the same time."""


@dataclass(frozen=True)
class Level:
    """Chunks of one level that stand side by side.

    `before_M` are the numbers of the chunks before them, among the level before; None at the start of rows.
    Only the first `continued` chunks have chunks behind them.
    """

    chunks: int
    before_M: Tensor | None
    continued: int


@dataclass(frozen=True)
class Wave:
    """Levels, or a part of one wide level, whose chunks are computed at once.

    `ends_level` says whether the last level is complete with this wave.
    """

    levels: Sequence[Level]
    ends_level: bool = True

    @property
    def chunks(self) -> int:
        return sum(level.chunks for level in self.levels)

    @property
    def has_states(self) -> bool:
        """Whether a state comes before any of its chunks."""
        return self.levels[-1].before_M is not None


@dataclass(frozen=True)
class Chunk:
    """Tokens from `start` to `end`; `before` is the number of the chunk before them in their row, or -1."""

    start: int
    end: int
    before: int


@dataclass(frozen=True)
class Chunks:
    """The chunks of a token axis, in its order.

    The chunks from a start of rows to the next start are a tree: none depends on any of another tree.
    """

    segments: Sequence[Segment]
    chunks: Sequence[Chunk]
    device: torch.device

    @classmethod
    def of(cls, segments: Sequence[Segment], device: torch.device) -> "Chunks":
        """Cut segments that cover an axis in order."""
        chunks: list[Chunk] = []
        last: dict[Span, int] = {}  # of each segment: the number of its last chunk
        for segment in segments:
            before = last[segment.prefix[-1]] if segment.prefix else -1
            for start in range(segment.start, segment.end, CHUNK):
                chunks.append(Chunk(start, min(start + CHUNK, segment.end), before))
                before = len(chunks) - 1
            last[segment.start, segment.end] = before
        return cls(segments, chunks, device)

    @cached_property
    def continued(self) -> frozenset[int]:
        """The numbers of the chunks that have chunks behind them."""
        return frozenset(chunk.before for chunk in self.chunks)

    @cached_property
    def spans_M4(self) -> Tensor:  # noqa: N802 - axes
        """Each chunk's start, end, number of the chunk before, and whether it is continued."""
        rows = [(c.start, c.end, c.before, number in self.continued) for number, c in enumerate(self.chunks)]
        return torch.tensor(rows, dtype=torch.int64)

    @cached_property
    def roots(self) -> Tensor:
        """The number of each tree's first chunk, and that of all chunks."""
        firsts = [number for number, chunk in enumerate(self.chunks) if chunk.before < 0]
        return torch.tensor([*firsts, len(self.chunks)])

    @property
    def trees(self) -> int:
        return len(self.roots) - 1

    @cached_property
    def longest(self) -> int:
        """The number of chunks of the largest tree."""
        return int(self.roots.diff().max())

    @cached_property
    def waves(self) -> Sequence[Wave]:
        """The chunks in the order in which waves compute them."""
        return list(_waves(self._levels, self))

    @cached_property
    def tokens_N(self) -> Tensor:  # noqa: N802 - axes
        """The places of the waves' tokens on the axis, `CHUNK` for each chunk.

        Behind a short chunk stands the axis' length.
        """
        tokens_MC = torch.full((len(self.chunks), CHUNK), self.chunks[-1].end)
        for tokens_C, number in zip(tokens_MC, chain.from_iterable(self._levels), strict=True):
            chunk = self.chunks[number]
            tokens_C[: chunk.end - chunk.start] = torch.arange(chunk.start, chunk.end)
        return tokens_MC.flatten().to(self.device)

    @cached_property
    def places_T(self) -> Tensor:  # noqa: N802 - axes
        """Where each token of the axis stands among `tokens_N`."""
        length = self.chunks[-1].end
        places_T = torch.empty(length + 1, dtype=torch.long, device=self.device)
        places_T[self.tokens_N] = torch.arange(len(self.tokens_N), device=self.device)
        return places_T[:length]

    @cached_property
    def _levels(self) -> list[list[int]]:
        """The numbers of the chunks by level; in each level, the continued ones come first."""
        levels: list[list[int]] = []
        level_of: list[int] = []
        for number, chunk in enumerate(self.chunks):
            level_of.append(level_of[chunk.before] + 1 if chunk.before >= 0 else 0)
            if level_of[-1] == len(levels):
                levels.append([])
            levels[level_of[-1]].append(number)
        return [sorted(level, key=lambda number: number not in self.continued) for level in levels]


def _waves(levels: Sequence[Sequence[int]], chunks: Chunks) -> Iterator[Wave]:
    """Yield waves of whole levels as long as they fit, and wide levels in parts."""
    waiting: list[Level] = []
    places: dict[int, int] = {}
    for level in levels:
        parts = [_part(level[start : start + WAVE], places, chunks) for start in range(0, len(level), WAVE)]
        places = {number: place for place, number in enumerate(level)}
        if waiting and sum(each.chunks for each in waiting) + len(level) > WAVE:
            yield Wave(waiting)
            waiting = []
        if len(parts) == 1:
            waiting += parts
        else:
            yield from (Wave([part], part is parts[-1]) for part in parts)
    if waiting:
        yield Wave(waiting)


def _part(level: Sequence[int], places: dict[int, int], chunks: Chunks) -> Level:
    before = [places[chunks.chunks[number].before] for number in level if chunks.chunks[number].before >= 0]
    before_M = torch.tensor(before, device=chunks.device) if before else None
    return Level(len(level), before_M, sum(number in chunks.continued for number in level))
