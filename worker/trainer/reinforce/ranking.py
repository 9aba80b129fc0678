"""Ranks the validations of a job that samples its answers. Clients get checkpoints of the best ones."""

from dataclasses import dataclass, field
from math import isfinite

from worker.trainer.save.checkpoint import KEPT_PROMISED


@dataclass
class Ranking:
    """The best validations so far, the best one first. Its field goes into a checkpoint as it is."""

    losses: list[list[float]] = field(default_factory=list)
    """The loss of each, which is lower in a better state, with its step"""

    @property
    def steps(self) -> list[int]:
        return [int(step) for _, step in self.losses]

    def note(self, step: int, loss: float) -> None:
        """Take in the validation after `step`. Of equal losses, the earlier one is better.

        A loss that is not finite never counts, and neither does the model that the job begins with.
        """
        if step > 0 and isfinite(loss):
            self.losses = sorted([*self.losses, [loss, step]])[:KEPT_PROMISED]
