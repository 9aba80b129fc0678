"""A job whose step has many micro-batches, beside jobs with small steps."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from tests.fixtures.engine.cohort_jobs import MIDDLE, Job, cohort_of, lose_in_the_middle
from worker.engine.base.base_model import ResidentBase
from worker.trainer.train.loop import TrainingLoop


def huge_and_small(base: ResidentBase) -> tuple[Job, Job]:
    """Return a job whose step has many micro-batches, and one with a row a step."""
    return Job(base, "huge", batch_size=24, rows=48), Job(base, "small", batch_size=1, rows=5)


def into_the_step(cohort: TrainingLoop, huge: Job) -> None:
    """Train until some micro-batches of the huge job's step have been computed."""
    while not gathered(huge).any():
        assert cohort.train_round()
    assert huge.steps == []


def gathered(job: Job) -> Tensor:
    return torch.stack(job.own.adapter.parameters.lane_gradients)


def test_jobs_end_in_the_order_of_their_own_work(base: ResidentBase) -> None:
    huge, small = huge_and_small(base)
    middle = Job(base, "middle", batch_size=2, rows=30)
    ends: list[str] = []
    cohort = cohort_of(base, huge, middle, small)
    while cohort.jobs:
        cohort.train_round()
        ends += [
            job.lease.job_id for job in (huge, middle, small) if job.ended and job.lease.job_id not in ends
        ]
        if not small.ended:
            assert huge.steps == []
    assert ends == ["small", "middle", "huge"]
    assert huge.steps == [1, 2, 3, 4]
    assert huge.shares >= len(small.steps)


@pytest.mark.parametrize("how", ["left", "paused", "given back"])
def test_a_job_leaves_in_the_middle_of_a_spread_step_with_the_state_before_it(
    base: ResidentBase, how: str
) -> None:
    huge, small = huge_and_small(base)
    before = huge.own.adapter.parameters.master.clone()
    cohort = cohort_of(base, huge, small)
    into_the_step(cohort, huge)
    if how == "left":
        huge.on_look = lambda job: lose_in_the_middle(job)
        huge.looks = MIDDLE - 1
    elif how == "paused":
        huge.job_lease.pause_requested = True
    else:
        cohort.give_back()
    for _ in range(2):
        cohort.train_round()
    assert huge.ended == how
    assert huge.own.step == 0
    assert torch.equal(huge.left_with, before)
    assert small.steps == list(range(1, 1 + len(small.steps)))


def test_a_pause_that_is_taken_back_goes_on_with_the_spread_step(base: ResidentBase) -> None:
    huge, small = huge_and_small(base)
    huge.arrived = lambda: False
    cohort = cohort_of(base, huge, small)
    into_the_step(cohort, huge)
    before = gathered(huge)
    huge.job_lease.pause_requested = True
    cohort.train_round()
    assert torch.equal(gathered(huge), before)
    huge.pausing = huge.job_lease.pause_requested = False
    while not huge.steps:
        cohort.train_round()
    twin = Job(base, "huge", batch_size=24, rows=48)
    cohort_of(base, twin).train_round()
    assert huge.losses == pytest.approx(twin.losses, rel=1e-5)


def test_a_round_that_breaks_in_a_spread_step_shows_whose_micro_batch_it_was(
    base: ResidentBase,
) -> None:
    """The huge job makes its whole step alone. If it made a share, later rounds would break again."""
    huge, small = huge_and_small(base)
    broken: list[str] = []

    def run_out(names: Sequence[str]) -> None:
        if broken and "huge" in names and gathered(huge).any():
            raise torch.OutOfMemoryError

    cohort = cohort_of(base, huge, small, on_round=run_out, in_round=run_out)
    into_the_step(cohort, huge)
    made = len(small.steps)
    broken.append("the device")
    cohort.train_round()
    assert huge.error is not None
    assert huge.error.code == "out_of_memory"
    assert (cohort.jobs, small.steps[made:]) == ([small], [made + 1])
