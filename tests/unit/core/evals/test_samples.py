"""What several samples of each row say: pass@k, clustered errors, and whether there is anything to learn."""

from itertools import combinations
from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.evals.criteria import Criterion
from core.evals.results import CriterionResult, RowResult
from core.evals.sampled_rows import SampledRows
from core.evals.statistics.intervals import Z
from core.evals.statistics.samples import pass_at_k
from core.evals.statistics.summary import summarise
from tests.fixtures.work.eval_results import EXACT_MATCH, SIMILARITY, criterion, scored

PYTHON = criterion("python", name="reward", source="def grade(sample, item):\n    return 0.5\n")
WITH_THRESHOLD = PYTHON.model_copy(update={"pass_threshold": 0.5})
GRADES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
ROWS = st.lists(st.lists(GRADES, min_size=4, max_size=4), min_size=1, max_size=12)
RUNS = 200


def summary(kind: Criterion, scores: list[list[float]], samples: int | None = None) -> CriterionResult:
    """Return the result of rows with the scores of their samples, without those that were not judged."""
    rows = [row for row, of_row in enumerate(scores) for _ in of_row]
    results: list[RowResult] = scored(kind, [score for of_row in scores for score in of_row])
    return summarise(kind, results, rows, samples or max(map(len, scores)))


def sampled(kind: Criterion, scores: list[list[float]], samples: int | None = None) -> SampledRows:
    found = summary(kind, scores, samples).sampled
    assert found is not None
    return found


@pytest.mark.parametrize("samples", range(1, 8))
def test_pass_at_k_is_the_share_of_all_choices_of_k_samples_in_which_one_passes(samples: int) -> None:
    for passed in range(samples + 1):
        outcomes = [True] * passed + [False] * (samples - passed)
        for k in range(1, samples + 1):
            chosen = [any(choice) for choice in combinations(outcomes, k)]
            assert pass_at_k(samples, passed, k) == pytest.approx(np.mean(chosen))


def test_pass_at_k_has_no_bias() -> None:
    """1 - (1 - c / n)^k, which is often taken for it, is 0.1 too low here."""
    rng = np.random.default_rng(6)
    truth = 1 - (1 - 0.3) ** 4
    found = [pass_at_k(6, int(passed), 4) for passed in rng.binomial(6, 0.3, 20_000)]
    assert np.mean(found) == pytest.approx(truth, abs=0.01)


@given(ROWS)
def test_pass_at_k_grows_with_k_from_the_share_of_right_samples(scores: list[list[float]]) -> None:
    found = sampled(WITH_THRESHOLD, scores).pass_at_k
    assert found is not None
    assert list(found) == [1, 2, 4]
    assert found[1] == pytest.approx(np.mean(np.array(scores) >= 0.5))
    assert found[4] == pytest.approx(np.mean((np.array(scores) >= 0.5).any(1)))
    assert found[1] <= found[2] + 1e-12
    assert found[2] <= found[4] + 1e-12


@given(ROWS)
def test_the_counts_agree_with_the_scores(scores: list[list[float]]) -> None:
    found = sampled(WITH_THRESHOLD, scores)
    grid = np.array(scores)
    assert found.rows == len(scores)
    assert found.rows_without_variance == (grid.min(1) == grid.max(1)).sum()
    assert found.rows_never_passed == (grid < 0.5).all(1).sum()
    assert found.rows_always_passed == (grid >= 0.5).all(1).sum()
    assert sum(found.mean_scores.counts) == len(scores)
    assert len(found.mean_scores.counts) == 10
    means = [row.mean_score for row in found.worst]
    assert means == pytest.approx(sorted(grid.mean(1))[:5])
    assert [row.mean_score for row in found.best] == pytest.approx(sorted(grid.mean(1), reverse=True)[:5])


@given(ROWS.filter(lambda rows: len(rows) > 1))
def test_the_error_of_a_mean_is_clustered_by_row(scores: list[list[float]]) -> None:
    """Miller's formula: the products of all deviations within a row, with the correction for few rows."""
    found, grid = summary(WITH_THRESHOLD, scores), np.array(scores)
    deviations = grid - grid.mean()
    products = sum(np.outer(row, row).sum() for row in deviations)
    error = sqrt(products * len(grid) / (len(grid) - 1)) / grid.size
    assert found.value == pytest.approx(grid.mean())
    assert found.high is not None
    if len(grid) == 2:
        assert found.high - grid.mean() == pytest.approx(12.706 * error, abs=1e-9)
    assert found.high - grid.mean() >= Z * error - 1e-9


@pytest.mark.parametrize("kind", [EXACT_MATCH, SIMILARITY])
def test_intervals_hold_the_truth_although_samples_of_a_row_are_alike(kind: Criterion) -> None:
    """As if the samples were rows of their own, the intervals would hold it in two of three runs."""
    rng = np.random.default_rng(7)
    holding = 0
    for _ in range(RUNS):
        chances = rng.beta(0.5, 0.5, 60)
        found = summary(kind, (rng.random((60, 8)) < chances[:, None]).astype(float).tolist())
        assert found.low is not None
        assert found.high is not None
        holding += found.low <= 0.5 <= found.high
    assert abs(holding / RUNS - 0.95) < 2.6 * sqrt(0.95 * 0.05 / RUNS)


def test_the_same_sample_many_times_says_no_more_than_once() -> None:
    rng = np.random.default_rng(8)
    once = [[float(score)] for score in rng.random(50)]
    first, many = summary(SIMILARITY, once, 1), summary(SIMILARITY, [row * 16 for row in once])
    assert (first.value, first.low, first.high) == pytest.approx((many.value, many.low, many.high))
    assert first.sampled is None


def test_samples_that_could_not_be_judged_do_not_count() -> None:
    found = sampled(WITH_THRESHOLD, [[1.0, 0.0, 0.0, 0.0], [], [1.0], [0.0, 0.0]], samples=4)
    assert found.rows == 3
    assert found.rows_without_variance == 2
    assert found.pass_at_k == pytest.approx({1: (0.25 + 1 + 0) / 3, 2: (0.5 + 0) / 2, 4: 1.0})
    assert summary(WITH_THRESHOLD, [[]], samples=4).sampled is None


HARD, EASY, VARIED = [0.0] * 4, [1.0] * 4, [0.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("kind", "rows", "verdict", "words"),
    [
        (WITH_THRESHOLD, [VARIED, *[HARD] * 9], "learnable", "in 1 of 10 rows. A job can learn"),
        (
            WITH_THRESHOLD,
            [VARIED, *[HARD] * 10],
            "too_hard",
            "never succeeds in 10 rows: take easier prompts",
        ),
        (WITH_THRESHOLD, [HARD, *[EASY] * 10], "too_easy", "always succeeds in 10 rows: take harder prompts"),
        (PYTHON, [HARD] * 3, "no_variance", "in 0 of 3 rows. If the model never succeeds, take easier"),
        (EXACT_MATCH, [HARD] * 3, "too_hard", "in 0 of 3 rows. The model never succeeds in 3 rows"),
    ],
)
def test_the_verdict_says_whether_there_is_anything_to_learn(
    kind: Criterion, rows: list[list[float]], verdict: str, words: str
) -> None:
    found = sampled(kind, rows)
    assert (found.verdict, found.pass_at_k is None) == (verdict, kind is PYTHON)
    assert words in found.advice


def test_a_reward_without_bounds_has_bins_between_its_lowest_and_highest_row() -> None:
    found = sampled(PYTHON, [[-3.0, -1.0], [5.0, 5.0], [8.0, 8.0]]).mean_scores
    assert (found.low, found.high) == (-2.0, 8.0)
    assert (found.counts[0], found.counts[7], found.counts[9]) == (1, 1, 1)
    assert sampled(SIMILARITY, [[0.95, 0.97]]).mean_scores.model_dump() == {
        "low": 0.0,
        "high": 1.0,
        "counts": [0] * 9 + [1],
    }
