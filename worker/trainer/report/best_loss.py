"""Keeps the lowest validation loss of a job. It decides which state is the best, and whether to go on."""

from dataclasses import dataclass
from math import isfinite


@dataclass
class BestLoss:
    """The best of the evaluations so far. Its fields are numbers, which go into a checkpoint as they are.

    Patience is counted from a mark, and not from the lowest loss. So many small gains do not end a job if
    together they are a large one.
    """

    loss: float | None = None
    """The lowest loss, in nats"""
    step: int | None = None
    """The step of the lowest loss"""
    mark: float | None = None
    """The last loss that was lower than the mark before it by more than the threshold"""
    since: int = 0
    """The number of evaluations after the mark"""

    def note(self, step: int, loss: float, threshold: float = 0.0) -> None:
        """Take in the loss after `step`, in nats. A loss that is not finite never counts as lower."""
        if isfinite(loss) and (self.loss is None or loss < self.loss):
            self.loss, self.step = loss, step
        if isfinite(loss) and (self.mark is None or loss < self.mark - threshold):
            self.mark, self.since = loss, 0
        else:
            self.since += 1
