"""The search for weights: it never ends worse than it began, and finds what there is to find."""

import math
from collections.abc import Callable

import pytest

from core.compositions.methods import Criterion
from core.compositions.requests import MAX_WEIGHT
from worker.tasks.composition.weight_search import FileResult, Trial, Weights, best_of, search_weights


def bowl(weights: Weights) -> Trial:
    """Return the losses of two files, whose mean is smallest at the weights 0.25 and -0.5."""
    first, second = weights
    return with_losses(weights, (first - 0.25) ** 2 + 1, 2 * (second + 0.5) ** 2 + 3)


def with_losses(weights: Weights, *losses: float) -> Trial:
    return Trial(weights, [FileResult(loss, 0.0, 0.0) for loss in losses])


def hill(criterion: str, height: Callable[[float], float]) -> Callable[[Weights], Trial]:
    """Return trials of one weight, whose share has this height, and whose loss falls with the weight."""

    def trial_of(weights: Weights) -> Trial:
        share = height(weights[0])
        shares = {"token_accuracy": 0.0, "exact_match": 0.0, criterion: share}
        return Trial(weights, [FileResult(100.0 - weights[0], **shares)], criterion)  # type: ignore[arg-type]

    return trial_of


def test_the_first_trial_has_the_given_weights_and_the_best_is_no_worse() -> None:
    trials = search_weights((1.0, 1.0), 5, bowl)
    assert trials[0] == bowl((1.0, 1.0))
    assert len(trials) == 5
    assert best_of(trials).loss <= trials[0].loss


def test_the_lowest_loss_is_found() -> None:
    best = best_of(search_weights((1.0, 1.0), 64, bowl))
    assert best.weights == pytest.approx((0.25, -0.5), abs=0.02)


def test_no_weights_are_tried_twice_or_beyond_the_bounds() -> None:
    trials = search_weights((MAX_WEIGHT, 1.0), 30, lambda weights: with_losses(weights, -weights[0]))
    assert len({trial.weights for trial in trials}) == len(trials)
    assert all(abs(weight) <= MAX_WEIGHT for trial in trials for weight in trial.weights)


def test_a_search_without_anything_better_keeps_the_given_weights_and_ends() -> None:
    trials = search_weights((2.0, 0.5), 10_000, lambda weights: with_losses(weights, 1.0, 1.0))
    assert best_of(trials).weights == (2.0, 0.5)
    assert len(trials) < 100


def test_a_loss_that_is_not_finite_is_never_the_best_one() -> None:
    trials = search_weights(
        (1.0,), 6, lambda weights: with_losses(weights, math.nan if weights[0] != 1.0 else 7.0)
    )
    assert best_of(trials).weights == (1.0,)
    assert {trial.shown()["loss"] for trial in trials} == {7.0, None}


@pytest.mark.parametrize("criterion", ["loss", "token_accuracy", "exact_match"])
def test_a_search_goes_on_from_the_trials_that_were_shown(criterion: Criterion) -> None:
    def trial_of(weights: Weights) -> Trial:
        shares = [0.5 + weights[0] / 100, 0.25 - weights[1] / 100]
        files = [
            FileResult(each.loss, *([share] * 2))
            for each, share in zip(bowl(weights).files, shares, strict=True)
        ]
        return Trial(weights, files, criterion)

    whole = search_weights((1.0, 1.0), 20, trial_of)
    kept = {trial.weights: trial for trial in (Trial.read(each.shown(), criterion) for each in whole[:7])}
    again = search_weights((1.0, 1.0), 20, lambda weights: kept.get(weights) or trial_of(weights))
    assert [trial.shown() for trial in again] == [trial.shown() for trial in whole]


@pytest.mark.parametrize("criterion", ["token_accuracy", "exact_match"])
def test_a_higher_share_is_better_than_a_lower_loss(criterion: str) -> None:
    best = best_of(search_weights((1.0,), 40, hill(criterion, lambda weight: 1 / (1 + (weight - 0.25) ** 2))))
    assert best.weights == pytest.approx((0.25,), abs=0.02)
    assert best.shown()["score"] == pytest.approx(1.0, abs=1e-3)


def test_the_loss_decides_between_equal_shares() -> None:
    trials = search_weights((1.0,), 10, hill("exact_match", lambda _: 0.5))
    assert best_of(trials) == min(trials, key=lambda trial: trial.loss) != trials[0]
