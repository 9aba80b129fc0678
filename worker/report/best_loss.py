"""The lowest validation loss of a job: which state is its best, and whether to go on."""

from dataclasses import dataclass
from math import isfinite


@dataclass
class BestLoss:
    """Of the evaluations so far. Its fields are numbers, which go into a checkpoint as they are.

    `loss` is the lowest, of `step`. `mark` is the last that was lower than the mark before by more than the
    threshold, and `since` counts the evaluations after it: many small gains end no patience where together
    they are a large one.
    """

    loss: float | None = None
    step: int | None = None
    mark: float | None = None
    since: int = 0

    def note(self, step: int, loss: float, threshold: float = 0.0) -> None:
        """Take in an evaluation after `step`, in nats. One that is not finite is never an improvement."""
        if isfinite(loss) and (self.loss is None or loss < self.loss):
            self.loss, self.step = loss, step
        if isfinite(loss) and (self.mark is None or loss < self.mark - threshold):
            self.mark, self.since = loss, 0
        else:
            self.since += 1
