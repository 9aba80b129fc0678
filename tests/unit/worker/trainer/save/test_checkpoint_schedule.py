"""A checkpoint is due at each milestone and after a while, and only where there is something new to save."""

from dataclasses import replace

import pytest

from worker.trainer.save.checkpoint_schedule import CheckpointSchedule, Position

SECONDS = 60.0
BEGUN = Position(progress=0, is_promised=True, ends_training=False, may_be_published=False)
STEPPED = Position(progress=1, is_promised=False, ends_training=False, may_be_published=False)
MILESTONES = [
    replace(STEPPED, is_promised=True),
    replace(STEPPED, ends_training=True),
    replace(STEPPED, may_be_published=True),
]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def schedule(clock: Clock) -> CheckpointSchedule:
    return CheckpointSchedule(SECONDS, BEGUN, clock)


def test_where_a_job_begins_nothing_is_due_however_long_it_stays_there(
    schedule: CheckpointSchedule, clock: Clock
) -> None:
    clock.now += 10 * SECONDS
    assert not schedule.has_news(BEGUN)
    assert not schedule.is_owed(BEGUN)
    assert not schedule.is_due(BEGUN)


def test_between_milestones_a_checkpoint_is_due_once_the_last_one_is_old_but_no_step_waits_for_it(
    schedule: CheckpointSchedule, clock: Clock
) -> None:
    clock.now += SECONDS
    assert schedule.has_news(STEPPED)
    assert not schedule.is_due(STEPPED)
    clock.now += 1
    assert schedule.is_due(STEPPED)
    assert not schedule.is_owed(STEPPED)


@pytest.mark.parametrize("milestone", MILESTONES, ids=["epoch", "end", "best"])
def test_a_milestone_is_due_at_once_and_the_next_step_waits_for_it(
    schedule: CheckpointSchedule, milestone: Position
) -> None:
    assert schedule.is_due(milestone)
    assert schedule.is_owed(milestone)


@pytest.mark.parametrize("milestone", MILESTONES, ids=["epoch", "end", "best"])
def test_what_has_been_sent_is_due_again_only_with_news(
    schedule: CheckpointSchedule, clock: Clock, milestone: Position
) -> None:
    clock.now += 10 * SECONDS
    schedule.note_sent(milestone)
    clock.now += 10 * SECONDS
    assert not schedule.is_due(milestone)
    assert not schedule.is_owed(milestone)
    assert schedule.is_due(replace(milestone, progress=2))


def test_a_checkpoint_that_was_sent_early_begins_the_time_anew(
    schedule: CheckpointSchedule, clock: Clock
) -> None:
    clock.now += SECONDS
    schedule.note_sent(STEPPED)
    later = replace(STEPPED, progress=2)
    clock.now += SECONDS
    assert not schedule.is_due(later)
    clock.now += 1
    assert schedule.is_due(later)
