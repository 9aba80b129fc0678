"""Searches for the weights with the lowest loss, by steps along one weight at a time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from core.compositions.requests import MAX_WEIGHT

FIRST_STEP = 0.5  # as a share of the largest given weight
LAST_STEP = 1e-3

Weights = tuple[float, ...]
Losses = Sequence[float]


@dataclass(frozen=True)
class Trial:
    """Weights, and the loss of each file with them in nats per token."""

    weights: Weights
    losses: Losses

    @property
    def loss(self) -> float:
        """The mean of the files' losses; infinite if one is not a finite number."""
        mean = fmean(self.losses)
        return mean if math.isfinite(mean) else math.inf

    def shown(self) -> dict[str, Any]:
        """Return the trial as the report has it. JSON knows no infinity."""
        losses = [loss if math.isfinite(loss) else None for loss in self.losses]
        mean = self.loss if math.isfinite(self.loss) else None
        return {"weights": list(self.weights), "losses": losses, "loss": mean}


def search_weights(start: Weights, most: int, losses_of: Callable[[Weights], Losses]) -> list[Trial]:
    """Try up to `most` sets of weights, first `start`, and return the trials in their order.

    Each round adds a step to one weight after the other, or else takes it away, and keeps what lowers the
    loss. A round that keeps nothing halves the step.
    """
    tried: dict[Weights, Trial] = {}

    def attempt(weights: Weights) -> Trial:
        if weights not in tried:
            tried[weights] = Trial(weights, losses_of(weights))
        return tried[weights]

    best = attempt(start)
    step = FIRST_STEP * max(map(abs, start))
    while step > LAST_STEP:
        before = best
        for place in range(len(start)):
            for change in (step, -step):
                moved = _moved(best.weights, place, change)
                if len(tried) == most and moved not in tried:
                    return list(tried.values())
                if (found := attempt(moved)).loss < best.loss:
                    best = found
                    break
        if best is before:
            step /= 2
    return list(tried.values())


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the trial with the lowest loss, the first one of equals."""
    return min(trials, key=lambda trial: trial.loss)


def _moved(weights: Weights, place: int, change: float) -> Weights:
    moved = min(MAX_WEIGHT, max(-MAX_WEIGHT, weights[place] + change))
    return *weights[:place], moved, *weights[place + 1 :]
