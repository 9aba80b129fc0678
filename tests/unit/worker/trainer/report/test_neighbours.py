"""Rows whose loss is far above that of rows with similar prompts."""

import numpy as np

from tests.fixtures.engine.rows import make_rows
from worker.rows.row import Row
from worker.trainer.report.neighbours import above_neighbours

SHARED = list(range(200, 230))  # a template that all prompts have


def row(topic: int, number: int) -> Row:
    """Return a row whose prompt has words of its topic, and one learnt token."""
    words = np.random.default_rng([topic, number]).integers(10 * topic, 10 * topic + 10, 8)
    tokens_L = np.array([*SHARED, *words, 299], np.int32)
    return Row(number + 1, tokens_L, tokens_L == 299)


def test_a_loss_counts_beside_those_of_similar_prompts() -> None:
    """Easy rows have low losses and hard ones high losses; one easy row has a loss in between."""
    rows = [row(topic, number) for topic in (0, 1) for number in range(12)]
    losses = np.array([0.1] * 12 + [3.0] * 12)
    losses[5] = 1.0
    found = above_neighbours(rows, losses)
    assert found.argmax() == 5
    assert abs(np.delete(found, 5)).max() < 1e-9


def test_rows_without_similar_ones_are_compared_with_all() -> None:
    rows = [row(topic, 0) for topic in range(12)]
    losses = np.linspace(0, 1, 12)
    assert np.allclose(above_neighbours(rows, losses), losses - 0.5)


def test_no_rows_and_losses_that_are_not_finite_are_no_error() -> None:
    assert not len(above_neighbours([], np.array([])))
    rows = make_rows(6, 0)
    losses = np.array([np.nan, 1, 1, 1, 1, 1])
    found = above_neighbours(rows, losses)
    assert np.isnan(found[0])
    assert (found[1:] == 0).all()
