"""How a recurrence with a state goes through a forest of segments: in chunks, from the rows' starts outwards.

The state before a row's first token is zero. The state before any other chunk is the one after the chunk
before it, which may end a shared beginning. So chunks with equally many chunks before them depend on none of
each other, and are computed at once: they are a level.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
class Chunks:
    """The chunks of a token axis, one wave after the other.

    `tokens_N` are the places of their tokens on the axis, `CHUNK` for each chunk. Behind a short chunk stands
    the axis' length. `places_T` says where each token of the axis stands among them.
    """

    waves: Sequence[Wave]
    tokens_N: Tensor
    places_T: Tensor

    @classmethod
    def of(cls, segments: Sequence[Segment], device: torch.device) -> "Chunks":
        """Cut segments that cover an axis in order."""
        levels, length = _levels(segments), segments[-1].end
        tokens_MC = torch.full((sum(map(len, levels)), CHUNK), length)
        for tokens_C, chunk in zip(tokens_MC, chain.from_iterable(levels), strict=True):
            tokens_C[: chunk.span[1] - chunk.span[0]] = torch.arange(*chunk.span)
        tokens_N = tokens_MC.flatten()
        places_T = torch.empty(length + 1, dtype=torch.long)
        places_T[tokens_N] = torch.arange(len(tokens_N))
        return cls(list(_waves(levels, device)), tokens_N.to(device), places_T[:length].to(device))


@dataclass(frozen=True)
class _Chunk:
    span: Span
    before: Span | None
    continued: bool


def _levels(segments: Sequence[Segment]) -> list[list[_Chunk]]:
    """Return the chunks by level; in each level, those that have chunks behind them come first."""
    last: dict[Span, tuple[Span, int]] = {}  # of each segment: the last chunk, and its level
    found: list[list[tuple[Span, Span | None]]] = []
    for segment in segments:
        before, level = last[segment.prefix[-1]] if segment.prefix else (None, -1)
        for start in range(segment.start, segment.end, CHUNK):
            span, level = (start, min(start + CHUNK, segment.end)), level + 1
            if level == len(found):
                found.append([])
            found[level].append((span, before))
            before = span
        assert before is not None
        last[segment.start, segment.end] = before, level
    continued = {before for level in found for _, before in level}
    levels = [[_Chunk(span, before, span in continued) for span, before in level] for level in found]
    return [sorted(level, key=lambda chunk: not chunk.continued) for level in levels]


def _waves(levels: Sequence[Sequence[_Chunk]], device: torch.device) -> Iterator[Wave]:
    """Yield waves of whole levels as long as they fit, and wide levels in parts."""
    waiting: list[Level] = []
    numbers: dict[Span, int] = {}
    for level in levels:
        parts = [_part(level[start : start + WAVE], numbers, device) for start in range(0, len(level), WAVE)]
        numbers = {chunk.span: number for number, chunk in enumerate(level)}
        if waiting and sum(each.chunks for each in waiting) + len(level) > WAVE:
            yield Wave(waiting)
            waiting = []
        if len(parts) == 1:
            waiting += parts
        else:
            yield from (Wave([part], part is parts[-1]) for part in parts)
    if waiting:
        yield Wave(waiting)


def _part(chunks: Sequence[_Chunk], numbers: dict[Span, int], device: torch.device) -> Level:
    before = [numbers[chunk.before] for chunk in chunks if chunk.before is not None]
    before_M = torch.tensor(before, device=device) if before else None
    return Level(len(chunks), before_M, sum(chunk.continued for chunk in chunks))
