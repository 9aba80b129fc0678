"""Searches for the best weights, by steps along one weight at a time."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, NamedTuple, Self

from core.compositions.methods import Criterion
from core.compositions.requests import MAX_WEIGHT
from core.strict_json import finite

FIRST_STEP = 0.5  # as a share of the largest given weight
LAST_STEP = 1e-3

Weights = tuple[float, ...]


class FileResult(NamedTuple):
    """How well the rows of a file are predicted: the loss in nats per learnt token, and two shares."""

    loss: float
    token_accuracy: float
    exact_match: float


@dataclass(frozen=True)
class Trial:
    """Weights, and how well each file is predicted with them."""

    weights: Weights
    files: Sequence[FileResult]
    criterion: Criterion = "loss"

    @property
    def loss(self) -> float:
        """The mean of the files' losses; infinite if one is not a finite number."""
        mean = fmean(each.loss for each in self.files)
        return mean if math.isfinite(mean) else math.inf

    @property
    def scores(self) -> Sequence[float]:
        """The share of each file that the search raises; empty if it lowers the loss alone."""
        if self.criterion == "loss":
            return ()
        return [
            each.token_accuracy if self.criterion == "token_accuracy" else each.exact_match
            for each in self.files
        ]

    @property
    def merit(self) -> tuple[float, float]:
        """What the search raises: the mean score, and among equal ones the negative loss."""
        return (fmean(self.scores) if self.scores else 0.0), -self.loss

    def shown(self) -> dict[str, Any]:
        """Return the trial as the report has it. JSON knows no infinity."""
        losses = [finite(each.loss) for each in self.files]
        found = {"weights": list(self.weights), "losses": losses, "loss": finite(self.loss)}
        return found | {"scores": list(self.scores), "score": fmean(self.scores)} if self.scores else found

    @classmethod
    def read(cls, shown: dict[str, Any], criterion: Criterion) -> Self:
        """Return the trial that is shown so, as far as the search looks at it."""
        losses = [math.inf if loss is None else loss for loss in shown["losses"]]
        scores = shown.get("scores", [0.0] * len(losses))  # one criterion's: the other share does not count
        files = [FileResult(loss, score, score) for loss, score in zip(losses, scores, strict=True)]
        return cls(tuple(shown["weights"]), files, criterion)


def search_weights(start: Weights, most: int, trial_of: Callable[[Weights], Trial]) -> list[Trial]:
    """Try up to `most` sets of weights, first `start`, and return the trials in their order.

    Each round adds a step to one weight after the other, or else takes it away, and keeps what is better.
    A round that keeps nothing halves the step.
    """
    tried: dict[Weights, Trial] = {}

    def attempt(weights: Weights) -> Trial:
        if weights not in tried:
            tried[weights] = trial_of(weights)
        return tried[weights]

    best = attempt(start)
    step = FIRST_STEP * max(map(abs, start))
    while step > LAST_STEP:
        before = best
        for position in range(len(start)):
            for change in (step, -step):
                moved = _moved(best.weights, position, change)
                if len(tried) == most and moved not in tried:
                    return list(tried.values())
                if (found := attempt(moved)).merit > best.merit:
                    best = found
                    break
        if best is before:
            step /= 2
    return list(tried.values())


def best_of(trials: Sequence[Trial]) -> Trial:
    """Return the best trial, the first one of equals."""
    return max(trials, key=lambda trial: trial.merit)


def _moved(weights: Weights, position: int, change: float) -> Weights:
    moved = min(MAX_WEIGHT, max(-MAX_WEIGHT, weights[position] + change))
    return *weights[:position], moved, *weights[position + 1 :]
