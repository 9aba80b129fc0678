"""Work that is spread over rounds: its micro-batches, and the tokens of them that a round may compute."""

from collections import deque
from collections.abc import Iterator, Sequence

from worker.engine.batch.grouping import (
    Group,
    JobRows,
    cut_together,
    group_tokens,
    groups_of,
    numbered,
    portions,
)

AtOnce = list[Group]
"""Micro-batches that are computed at once, one by each process."""


def micro_batches_at_once(job: JobRows, max_tokens: int, processes: int = 1) -> Iterator[AtOnce]:
    """Yield the micro-batches of a job's rows, cut without the rows of other jobs."""
    for portion in portions(numbered([job])):
        for cut in cut_together(portion):
            groups = groups_of(cut, max_tokens, processes)
            yield from (groups[start : start + processes] for start in range(0, len(groups), processes))


def tokens_of(groups: Sequence[Group]) -> int:
    """Return how many tokens some micro-batches compute."""
    return sum(map(group_tokens, groups))


class SavedTokens:
    """The tokens that rounds have given, and that have not been computed yet."""

    def __init__(self) -> None:
        self._tokens = 0.0

    def add(self, tokens: float) -> None:
        self._tokens += tokens

    def take(self, left: deque[AtOnce], cost: float = 1.0) -> list[Group]:
        """Remove and return the first micro-batches of `left` that the tokens suffice for.

        `cost` is the cost of one of their tokens.
        """
        taken: list[Group] = []
        while left and cost * tokens_of(left[0]) <= self._tokens:
            self._tokens -= cost * tokens_of(left[0])
            taken += left.popleft()
        return taken
