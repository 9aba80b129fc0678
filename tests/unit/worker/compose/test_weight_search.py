"""The search for weights: it never ends worse than it began, and finds what there is to find."""

import math
from collections.abc import Sequence

import pytest

from core.compositions.requests import MAX_WEIGHT
from worker.compose.weight_search import Trial, Weights, best_of, search_weights


def bowl(weights: Weights) -> Sequence[float]:
    """Return the losses of two files, whose mean is smallest at the weights 0.25 and -0.5."""
    first, second = weights
    return (first - 0.25) ** 2 + 1, 2 * (second + 0.5) ** 2 + 3


def test_the_first_trial_has_the_given_weights_and_the_best_is_no_worse() -> None:
    trials = search_weights((1.0, 1.0), 5, bowl)
    assert trials[0] == Trial((1.0, 1.0), bowl((1.0, 1.0)))
    assert len(trials) == 5
    assert best_of(trials).loss <= trials[0].loss


def test_the_lowest_loss_is_found() -> None:
    best = best_of(search_weights((1.0, 1.0), 64, bowl))
    assert best.weights == pytest.approx((0.25, -0.5), abs=0.02)


def test_no_weights_are_tried_twice_or_beyond_the_bounds() -> None:
    trials = search_weights((MAX_WEIGHT, 1.0), 30, lambda weights: [-weights[0]])
    assert len({trial.weights for trial in trials}) == len(trials)
    assert all(abs(weight) <= MAX_WEIGHT for trial in trials for weight in trial.weights)


def test_a_search_without_anything_better_keeps_the_given_weights_and_ends() -> None:
    trials = search_weights((2.0, 0.5), 10_000, lambda _: [1.0, 1.0])
    assert best_of(trials).weights == (2.0, 0.5)
    assert len(trials) < 100


def test_a_loss_that_is_not_finite_is_never_the_best_one() -> None:
    trials = search_weights((1.0,), 6, lambda weights: [math.nan if weights[0] != 1.0 else 7.0])
    assert best_of(trials).weights == (1.0,)
    assert {trial.shown()["loss"] for trial in trials} == {7.0, None}
