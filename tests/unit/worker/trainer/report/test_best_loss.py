"""Which evaluation is the best, and how many have passed since the last gain above the threshold."""

from collections.abc import Iterable
from dataclasses import asdict
from math import nan

from worker.trainer.report.best_loss import BestLoss


def after(losses: Iterable[float], threshold: float = 0.0) -> BestLoss:
    best = BestLoss()
    for number, loss in enumerate(losses, start=1):
        best.note(10 * number, loss, threshold)
    return best


def test_the_best_is_the_lowest_and_of_equal_ones_the_first() -> None:
    best = after([3.0, 2.0, 2.0, 2.5])
    assert (best.loss, best.step, best.since) == (2.0, 20, 2)


def test_a_gain_that_is_no_larger_than_the_threshold_counts_as_none_but_is_the_best() -> None:
    best = after([3.0, 2.9, 2.9], threshold=0.1)
    assert (best.loss, best.step, best.since) == (2.9, 20, 2)


def test_small_gains_that_add_up_to_more_than_the_threshold_count() -> None:
    assert after([3.0, 2.95, 2.89], threshold=0.1).since == 0


def test_a_loss_that_is_not_finite_is_no_gain() -> None:
    best = after([nan, 3.0, nan])
    assert (best.loss, best.step, best.since) == (3.0, 20, 1)
    assert after([nan, nan]).step is None


def test_a_checkpoint_has_all_of_it() -> None:
    best = after([3.0, 2.0, 2.5], threshold=0.1)
    assert BestLoss(**asdict(best)) == best
