"""Which candidates train on, for losses that the tests make up."""

from itertools import pairwise

import numpy as np
import pytest

from worker.engine.step.totals import Score
from worker.trainer.candidates.halving import Rung, lag, rungs, survivors

pytestmark = pytest.mark.family(40)


def cost(candidates: int, steps: int) -> float:
    """Return what a search costs, in runs of a single job."""
    total, before, left = 0, 0, candidates
    for rung in rungs(candidates, steps):
        total += left * (rung.step - before)
        before, left = rung.step, min(left, rung.keep)
    return total / steps


def scored(losses: dict[int, list[float]]) -> dict[int, Score]:
    """Return the scores of candidates with these mean losses of rows, each of two tokens."""
    return {
        number: Score(float(np.mean(rows)), 2 * np.array(rows), np.full(len(rows), 2.0))
        for number, rows in losses.items()
    }


def test_four_candidates_are_two_after_an_eighth_of_the_steps_and_one_after_a_quarter() -> None:
    assert rungs(4, 80) == [Rung(10, 2), Rung(20, 1), Rung(80, 1)]


@pytest.mark.parametrize("steps", [25, 26, 27, 31, 75, 1000])
def test_four_candidates_cost_at_most_one_run_and_six_tenths(steps: int) -> None:
    assert cost(4, steps) <= 1.6


@pytest.mark.parametrize(("candidates", "runs"), [(2, 1.25), (4, 1.5), (8, 1.75), (16, 2.0)])
def test_each_doubling_of_the_candidates_costs_a_quarter_of_a_run(candidates: int, runs: float) -> None:
    assert cost(candidates, 1600) == runs


@pytest.mark.parametrize("steps", range(1, 30))
@pytest.mark.parametrize("candidates", range(2, 17))
def test_rungs_follow_each_other_leave_one_and_none_is_at_the_step_that_changes_nothing(
    candidates: int, steps: int
) -> None:
    found = rungs(candidates, steps)
    assert found[-1] == Rung(steps, 1)
    assert all(a.step < b.step and a.keep >= b.keep for a, b in pairwise(found))
    assert steps == 1 or found[0].step >= 2
    assert found[0].keep >= candidates / 2 or len(found) == 1


def test_the_worse_half_is_dropped() -> None:
    scores = {0: Score(2.0), 1: Score(1.5), 2: Score(1.0), 3: Score(1.7)}
    assert survivors(scores, 2) == [2, 1]


def test_what_is_not_finite_is_the_worst_and_of_equals_the_first_is_taken() -> None:
    scores = {0: Score(float("nan")), 1: Score(1.5), 2: Score(float("inf")), 3: Score(1.5)}
    assert survivors(scores, 2) == [1, 3]
    assert survivors(scores, 2, prefer_small=True) == [1, 3]
    hopeless = {0: Score(float("nan")), 1: Score(float("inf"))}
    assert survivors(hopeless, 1, prefer_small=True) == [0]


def test_the_smallest_within_noise_of_the_best_is_left() -> None:
    scores = scored(
        {
            0: [3.0, 1.1, 2.1, 4.1],  # worse on every row
            1: [2.9, 1.01, 1.99, 4.0],  # worse on one row, better on another
            2: [2.9, 1.0, 1.99, 4.005],
        }
    )
    assert survivors(scores, 1) == [2]
    assert survivors(scores, 1, prefer_small=True) == [1]


def test_before_the_last_comparison_the_best_goes_on_beside_the_smallest_within_noise_of_it() -> None:
    alike = scored({0: [1.02, 1.98], 1: [1.01, 1.99], 2: [1.0, 2.0 - 1e-6], 3: [0.9, 2.05]})
    assert survivors(alike, 2) == [3, 2]
    assert survivors(alike, 2, prefer_small=True) == [3, 0]
    apart = scored({0: [2.0, 3.0], 1: [1.5, 2.5], 2: [1.2, 2.2], 3: [1.0, 2.0]})
    assert survivors(apart, 2, prefer_small=True) == [3, 2]


def test_noise_is_that_of_the_rows_differences_and_not_of_the_rows() -> None:
    rows = np.array([1.0, 5.0, 9.0, 2.0])
    shifted = lag(scored({0: list(rows + 0.1)})[0], scored({0: list(rows)})[0])
    assert shifted.loss == pytest.approx(0.1)
    assert shifted.noise == pytest.approx(0, abs=1e-9)


def test_noise_is_the_spread_that_other_rows_of_the_same_kind_would_give() -> None:
    """Compare the noise with the spread of the loss over many files of newly drawn rows of varying length."""
    random = np.random.default_rng(0)

    def one_file() -> tuple[Score, Score]:
        tokens_X = random.integers(1, 40, 200).astype(float)
        best_X = tokens_X * random.normal(2, 1, 200)
        other_X = best_X + tokens_X * random.normal(0.02, 0.2, 200)
        return tuple(Score(nll_X.sum() / tokens_X.sum(), nll_X, tokens_X) for nll_X in (other_X, best_X))  # type: ignore[return-value]

    found = [lag(*one_file()) for _ in range(400)]
    spread = float(np.std([each.loss for each in found]))
    assert np.mean([each.noise for each in found]) == pytest.approx(spread, rel=0.1)


def test_of_one_row_or_without_rows_nothing_is_within_noise() -> None:
    assert survivors(scored({0: [1.01], 1: [1.0]}), 1, prefer_small=True) == [1]
    assert survivors({0: Score(1.01), 1: Score(1.0)}, 1, prefer_small=True) == [1]
