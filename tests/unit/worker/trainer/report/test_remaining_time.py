"""The remaining time follows the newest steps, and counts the evaluations that are still due."""

import pytest

from core.jobs.evaluation_schedule import Schedule
from worker.trainer.report.remaining_time import STEPS, RemainingTime

PLAIN = Schedule(200, 100, 30, whole_always=False, whole_tokens=0, part_tokens=0)
VALIDATED = Schedule(200, 100, 30, whole_always=False, whole_tokens=1000, part_tokens=100)


def after(*steps: tuple[float, int]) -> RemainingTime:
    remaining = RemainingTime()
    for step in steps:
        remaining.note_step(*step)
    return remaining


def test_nothing_is_known_before_the_first_step() -> None:
    assert after().left(PLAIN, 0) is None


def test_after_fifty_steps_their_own_rate_counts_and_no_longer_that_of_the_first_steps() -> None:
    slow_at_first = [(60.0, 100)] + [(2.0, 100)] * STEPS
    assert after(*slow_at_first).left(PLAIN, 51) == pytest.approx(149 * 2.0)


def test_evaluations_that_are_due_are_counted_each_once() -> None:
    assert VALIDATED.left(0) == (2, 6)
    assert VALIDATED.left(100) == (1, 3)
    assert Schedule(200, 100, 50, False, 1000, 100).left(0) == (2, 2)  # two of four are ends of epochs
    assert Schedule(200, 100, 30, True, 1000, 100).left(0) == (8, 0)


def test_an_evaluation_takes_as_long_as_the_last_one_and_before_a_share_of_its_tokens() -> None:
    remaining = after((1.0, 100))
    assert remaining.left(VALIDATED, 100) == pytest.approx(100 + (1000 + 3 * 100) * 0.4 / 100)
    remaining.note_evaluation(20.0, whole=True)
    remaining.note_evaluation(3.0, whole=False)
    assert remaining.left(VALIDATED, 100) == pytest.approx(100 + 20 + 3 * 3)
