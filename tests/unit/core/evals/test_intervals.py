"""Intervals of 95 % hold the true value in 95 of 100 samples, within the error of so many samples."""

from collections.abc import Callable

import numpy as np
import pytest

from core.evals.results import CriterionResult
from core.evals.statistics.summary import summarise
from tests.fixtures.work.eval_results import (
    EXACT_MATCH,
    FIELD_F1,
    LABEL_F1,
    LOSS,
    SIMILARITY,
    fields,
    labelled,
    losses,
    scored,
)

SAMPLES = 200
TOLERANCE = 2.6 * np.sqrt(0.95 * 0.05 / SAMPLES)
LABELS, CHANCES = np.array(["a", "b", "c"]), (0.6, 0.3, 0.1)
Draw = Callable[[np.random.Generator], CriterionResult]


def _similarity(rng: np.random.Generator) -> CriterionResult:
    return summarise(SIMILARITY, scored(SIMILARITY, rng.beta(2, 1, 60)))


def _share(rng: np.random.Generator) -> CriterionResult:
    return summarise(EXACT_MATCH, scored(EXACT_MATCH, rng.random(60) < 0.9))


def _share_near_one(rng: np.random.Generator) -> CriterionResult:
    return summarise(EXACT_MATCH, scored(EXACT_MATCH, rng.random(60) < 0.97))


def _loss(rng: np.random.Generator) -> CriterionResult:
    """Long rows have a higher loss for each token, and losses are skewed."""
    tokens = rng.integers(1, 40, 60)
    nats = rng.lognormal(0, 0.8, 60) * tokens * (1 + tokens / 40)
    return summarise(LOSS, losses(nats, tokens))


def _few_losses(rng: np.random.Generator) -> CriterionResult:
    return summarise(LOSS, losses(rng.gamma(20, 0.1, 8), [1] * 8))


def _macro_f1(rng: np.random.Generator) -> CriterionResult:
    labels = rng.choice(LABELS, 100, p=CHANCES)
    return summarise(LABEL_F1, labelled(labels, _guessed(rng, labels)))


def _guessed(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Guess three of four rows right, and the others at random, or as no label at all."""
    return np.where(
        rng.random(len(labels)) < 0.75, labels, rng.choice([*LABELS, "none of them"], len(labels))
    )


def _true_loss() -> float:
    tokens = np.arange(1, 40)
    return float(np.exp(0.8**2 / 2) * (tokens * (1 + tokens / 40)).sum() / tokens.sum())


def _true_macro_f1() -> float:
    hits = np.array(CHANCES) * (0.75 + 0.25 / 4)
    predicted = np.array(CHANCES) * 0.75 + 0.25 / 4
    return float(np.mean(2 * hits / (np.array(CHANCES) + predicted)))


@pytest.mark.parametrize(
    ("draw", "truth"),
    [
        (_similarity, 2 / 3),
        (_share, 0.9),
        (_share_near_one, 0.97),
        (_loss, _true_loss()),
        (_few_losses, 2.0),
        (_macro_f1, _true_macro_f1()),
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(draw: Draw, truth: float) -> None:
    rng = np.random.default_rng(1)
    found = [draw(rng) for _ in range(SAMPLES)]
    covering = np.mean([_ends(each)[0] <= truth <= _ends(each)[1] for each in found])
    assert abs(covering - 0.95) < TOLERANCE


def test_equal_rows_give_equal_intervals() -> None:
    rows = scored(SIMILARITY, np.random.default_rng(2).random(50))
    assert summarise(SIMILARITY, rows) == summarise(SIMILARITY, rows)
    assert _ends(summarise(SIMILARITY, rows[::-1])) == pytest.approx(_ends(summarise(SIMILARITY, rows)))


def test_loss_weighs_each_row_by_its_tokens() -> None:
    found = summarise(LOSS, losses([1.0, 30.0, 0.0], [1, 10, 0]))
    assert found.value == pytest.approx(31 / 11)
    assert found.better == "lower"


def test_macro_f1_counts_every_label_alike_and_no_label_that_no_row_has() -> None:
    found = summarise(LABEL_F1, labelled("aaab", ["a", "a", "x", "b"]))
    assert found.details == pytest.approx({"a": 4 / 5, "b": 1.0})
    assert found.value == pytest.approx(0.9)


def test_micro_f1_counts_all_fields_together() -> None:
    found = summarise(FIELD_F1, fields([{"name": [1, 0, 0], "year": [0, 1, 1]}, {"name": [1, 0, 0]}]))
    assert found.value == pytest.approx(4 / 6)
    assert found.details == {"name": 1.0, "year": 0.0}


def test_a_report_details_the_hundred_commonest_labels_or_fields() -> None:
    references = [str(label) for label in range(101) for _ in range(2 - (label == 50))]
    found = summarise(LABEL_F1, labelled(references, references))
    assert found.details is not None
    assert set(found.details) == set(references) - {"50"}
    by_field = summarise(FIELD_F1, fields([{name: [1, 0, 0]} for name in references]))
    assert by_field.details is not None
    assert set(by_field.details) == set(references) - {"50"}


def test_without_rows_there_is_no_value() -> None:
    for kind in (LOSS, EXACT_MATCH, LABEL_F1, FIELD_F1):
        found = summarise(kind, [])
        assert (found.value, found.low, found.high, found.passed, found.failed) == (None, None, None, 0, 0)


def test_one_row_has_no_spread_but_a_share_of_it_has_an_interval() -> None:
    assert _only_value(summarise(LOSS, losses([2.0], [1]))) == 2.0
    share = summarise(EXACT_MATCH, scored(EXACT_MATCH, [1]))
    assert (share.value, share.high) == (1.0, 1.0)
    assert share.low == pytest.approx(0.207, abs=0.001)


def test_labels_that_are_all_right_leave_room_for_an_error() -> None:
    found = summarise(LABEL_F1, labelled("ab" * 20, "ab" * 20))
    assert found.value == 1.0
    assert 0.85 < _ends(found)[0] < 0.95


def _only_value(found: CriterionResult) -> float | None:
    assert found.low is None
    assert found.high is None
    return found.value


def _ends(found: CriterionResult) -> tuple[float, float]:
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high
