"""Decides when a job's next checkpoint is due."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Position:
    """The facts about a job's present state that decide whether a checkpoint is due."""

    progress: object
    """A value that two positions share if a checkpoint of one adds nothing to a checkpoint of the other."""
    is_promised: bool
    """Whether clients are promised a checkpoint of this state."""
    ends_training: bool
    may_be_published: bool
    """Whether the job publishes its best state, and this state is the best so far."""

    @property
    def is_milestone(self) -> bool:
        """Whether clients get this state as a checkpoint, or the job's result may come from it."""
        return self.is_promised or self.ends_training or self.may_be_published


class CheckpointSchedule:
    """The rule for one job's checkpoints: one at each milestone, and between them one after some seconds.

    A state that has been sent to the store is not due again.
    """

    def __init__(
        self, seconds: float, position: Position, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Begin at `position`, which needs no checkpoint.

        A state that is not a milestone is due when the last checkpoint is more than `seconds` old.
        """
        self._seconds = seconds
        self._clock = clock
        self.note_sent(position)

    def note_sent(self, position: Position) -> None:
        """Take in that the checkpoint of `position` is on its way."""
        self._sent = position.progress
        self._sent_at = self._clock()

    def has_news(self, position: Position) -> bool:
        """Return whether `position` has anything that the last checkpoint lacks."""
        return position.progress != self._sent

    def is_owed(self, position: Position) -> bool:
        """Return whether the job must send a checkpoint before it goes on: a milestone that has news."""
        return position.is_milestone and self.has_news(position)

    def is_due(self, position: Position) -> bool:
        """Return whether to send a checkpoint now, if none is under way."""
        is_old = self._clock() - self._sent_at > self._seconds
        return self.has_news(position) and (position.is_milestone or is_old)
