"""Rounds of a cohort on a tiny base model: which jobs step, which wait, and which leave, and when."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from core.errors import LeaseLost
from core.objectives.dpo import Dpo
from tests.fixtures.engine.cohort_jobs import (
    MAX_TOKENS,
    MIDDLE,
    Job,
    cohort_of,
    lose_in_the_middle,
    pause_in_the_middle,
)
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec, make_trainee
from worker.device.model_holder import ModelHolder
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.trainer.report.job_trace import JobTrace
from worker.trainer.train.stages import Stage


@pytest.mark.parametrize(("disturb", "how"), [(lose_in_the_middle, "left"), (pause_in_the_middle, "paused")])
def test_a_job_leaves_a_round_in_the_middle_unmoved_and_its_neighbour_steps(
    base: ResidentBase, disturb: Callable[[Job], None], how: str
) -> None:
    stays, leaves = Job(base, "stays"), Job(base, "leaves", disturb)
    before = leaves.trainee.adapter.parameters.master.clone()
    cohort = cohort_of(base, stays, leaves)
    assert cohort.train_round()
    assert cohort.jobs == [stays]
    assert leaves.ended == how
    assert torch.equal(leaves.left_with, before)
    assert stays.looks > MIDDLE
    undisturbed = [make_trainee(base, name, make_spec(), make_rows(12, 0)) for name in ("one", "two")]
    train_round(PassContext(base, MAX_TOKENS), undisturbed)
    assert stays.trainee.step == 1
    assert torch.equal(stays.trainee.adapter.parameters.master, undisturbed[0].adapter.parameters.master)


def test_a_round_reads_the_rows_of_a_job_that_has_left_and_then_they_leave_the_disk(
    base: ResidentBase,
) -> None:
    """DPO reads the rows of a micro-batch when it is computed."""
    leaves = Job(base, "leaves", lose_in_the_middle, batch_size=6, objective=Dpo())
    stays = Job(base, "stays")
    cohort = cohort_of(base, leaves, stays)
    with capture_logs() as logs:
        assert cohort.train_round()
    assert not [entry for entry in logs if entry["event"] == "round_broke"]
    assert (cohort.jobs, leaves.ended, stays.steps) == ([stays], "left", [1])
    assert (leaves.has_closed_rows, stays.has_closed_rows) == (True, False)
    cohort.give_back()
    assert stays.has_closed_rows


@pytest.mark.parametrize("disturb", [lose_in_the_middle, pause_in_the_middle])
def test_a_round_is_abandoned_when_its_last_job_leaves(
    base: ResidentBase, disturb: Callable[[Job], None]
) -> None:
    job = Job(base, "job", disturb)
    cohort = cohort_of(base, job)
    cohort.train_round()
    cohort.train_round()  # a paused job leaves now
    assert job.ended
    assert (job.looks, job.own.step) == (MIDDLE, 0)


def test_a_job_claimed_again_takes_the_place_of_its_former_self(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    former, stays = Job(base, "job"), Job(base, "stays")
    cohort = cohort_of(base, former, stays)
    monkeypatch.setattr(ModelHolder, "holds", lambda *_: True)  # no catalog has the base of these tests
    again = []

    def start_reading(*_: Any, **__: Any) -> None:
        again.append(Job(base, "job"))  # the name must be free by now

    claimed: Any = SimpleNamespace(
        lease=SimpleNamespace(job_id="job"),
        trace=JobTrace(),
        job_lease=None,  # the base model is in memory, so nothing is told of a load
        spec=former.spec,
        start_reading=start_reading,
    )
    cohort.add(claimed)
    assert former.ended == "left"
    assert cohort.jobs == [stays, claimed]
    assert again


@pytest.mark.parametrize("suspect", [False, True])
def test_a_job_that_waits_for_memory_lets_its_neighbours_step_and_attaches_before_those_behind_it(
    base: ResidentBase, suspect: bool
) -> None:
    stays, waits, behind = (Job(base, name) for name in ("stays", "waits", "behind"))
    waits.idle_stage = behind.idle_stage = Stage.ROWS_READ
    waits.alone, waits.fits = suspect, False
    cohort = cohort_of(base, stays, waits, behind)
    assert cohort.train_round()
    assert (stays.steps, waits.steps, behind.steps) == ([1], [], [])
    waits.fits = True
    assert cohort.train_round()
    assert waits.steps == [1]
    assert (stays.steps, behind.steps) == (([1], []) if suspect else ([1, 2], [1]))


def test_beside_a_job_that_has_to_be_alone_nobody_steps(base: ResidentBase) -> None:
    waits, alone = Job(base, "waits"), Job(base, "alone")
    alone.alone = True
    cohort = cohort_of(base, waits, alone)
    assert cohort.train_round()
    assert [job.trainee.step for job in (waits, alone)] == [0, 1]
    alone.alone = False  # it has made a checkpoint
    assert cohort.train_round()
    assert [job.trainee.step for job in (waits, alone)] == [1, 2]


def test_nobody_is_published_unsettled_because_another_has_to_be_alone(base: ResidentBase) -> None:
    """The checkpoint of its last step has not been written yet."""
    waits, alone = trained(Job(base, "trained")), Job(base, "alone")
    alone.alone = True
    cohort = cohort_of(base, waits, alone)
    cohort.train_round()
    assert (waits.ended, waits.settled) == ("", 0)
    alone.alone = False
    cohort.train_round()
    cohort.train_round()
    assert (waits.ended, waits.settled) == ("published", 1)


def test_a_neighbours_evaluation_holds_up_no_pause(base: ResidentBase) -> None:
    evaluates, leaves = Job(base, "evaluates"), Job(base, "leaves", pause_in_the_middle)
    evaluates.evaluated = make_rows(12, 0)
    cohort_of(base, evaluates, leaves).train_round()
    assert leaves.ended == "paused"
    assert (leaves.own.step, leaves.looks) == (0, MIDDLE), "it waited for the evaluation's end"
    assert (evaluates.trainee.step, evaluates.ended) == (1, "")


@pytest.mark.parametrize("disturb", [lose_in_the_middle, pause_in_the_middle])
def test_a_job_leaves_in_the_middle_of_its_own_evaluation(
    base: ResidentBase, disturb: Callable[[Job], None]
) -> None:
    job = Job(base, "job", disturb)
    job.evaluated = make_rows(12, 0)
    cohort = cohort_of(base, job)
    cohort.train_round()
    cohort.train_round()  # a paused job leaves now
    assert cohort.jobs == []
    assert (job.own.step, job.looks) == (0, MIDDLE)


def test_a_pause_that_waits_for_the_store_holds_up_no_neighbour_and_can_be_taken_back(
    base: ResidentBase,
) -> None:
    stays, pauses = Job(base, "stays"), Job(base, "pauses")
    pauses.arrived = lambda: False
    pauses.job_lease.pause_requested = True
    cohort = cohort_of(base, stays, pauses)
    assert cohort.train_round()
    assert cohort.train_round()
    assert (stays.steps, pauses.steps, pauses.settled) == ([1, 2], [], 0)
    assert cohort.jobs == [stays, pauses]
    pauses.pausing = pauses.job_lease.pause_requested = False
    assert cohort.train_round()
    assert (stays.steps, pauses.steps) == ([1, 2, 3], [1])


def test_all_jobs_are_sent_back_before_one_is_waited_for_and_one_that_fails_costs_no_other(
    base: ResidentBase,
) -> None:
    jobs = [Job(base, name) for name in ("one", "two", "gone")]

    def see_that_all_were_sent() -> None:
        assert all(job.given_back_for for job in jobs)

    def lose() -> None:
        raise LeaseLost("gone")

    for job in jobs:
        job.on_wait = see_that_all_were_sent
    jobs[-1].on_wait = lose
    cohort = cohort_of(base, *jobs)
    cohort.give_back()
    assert cohort.jobs == []
    assert [job.ended for job in jobs] == ["given back", "given back", "left"]


def trained(job: Job) -> Job:
    job.own.step = job.own.total_steps
    return job


def test_a_job_that_is_being_published_stays_until_that_has_arrived_and_holds_nobody_up(
    base: ResidentBase,
) -> None:
    published, neighbour = trained(Job(base, "published")), Job(base, "neighbour")
    published.arrived = lambda: False
    cohort = cohort_of(base, published, neighbour)
    assert cohort.train_round()
    assert cohort.bell.is_set(), "another job may take its place on the device"
    assert cohort.train_round()
    assert (cohort.jobs, neighbour.steps) == ([published, neighbour], [1, 2])
    published.arrived = lambda: True
    cohort.train_round()
    assert (cohort.jobs, published.ended) == ([neighbour], "published")
    assert neighbour.steps == [1, 2, 3]


def test_a_cohort_in_which_all_jobs_are_only_being_published_waits(base: ResidentBase) -> None:
    jobs = [trained(Job(base, name)) for name in ("one", "two")]
    for job in jobs:
        job.arrived = lambda: False
    cohort = cohort_of(base, *jobs)
    assert not cohort.train_round()
    assert not cohort.train_round()
    assert cohort.jobs == jobs


def test_no_pause_is_asked_of_a_job_that_is_being_published(base: ResidentBase) -> None:
    job = trained(Job(base, "job"))
    job.arrived = lambda: False
    job.job_lease.pause_requested = True
    cohort = cohort_of(base, job)
    job.publish()
    cohort.train_round()
    assert (cohort.jobs, job.ended) == ([job], "")


@pytest.mark.parametrize("computes", [True, False])
def test_what_a_job_sent_and_lost_to_the_store_gives_it_back_in_the_middle_of_a_round(
    base: ResidentBase, computes: bool
) -> None:
    stays, sends = Job(base, "stays"), Job(base, "sends")
    if not computes:
        trained(sends).publish()

    def fail_in_the_middle() -> bool:
        if stays.looks == MIDDLE:
            raise ConnectionError
        return False

    sends.arrived = fail_in_the_middle
    cohort = cohort_of(base, stays, sends)
    cohort.train_round()
    assert (cohort.jobs, sends.ended) == ([stays], "requeued")
    assert stays.steps == [1]


def burst(job: Job) -> None:
    """Make the job's weights NaN in the middle of the second round."""
    if job.trainee.step == 1:
        with torch.no_grad():
            job.trainee.adapter.parameters.master[0] = float("nan")


def leave_in_the_second_round(job: Job) -> None:
    job.looks_since = job.looks_since + 1 if job.trainee.step == 1 else 0
    if job.looks_since == MIDDLE:
        raise LeaseLost("gone")


@pytest.mark.parametrize("disturb", [burst, leave_in_the_second_round], ids=["turns NaN", "leaves"])
def test_whatever_a_neighbour_does_in_the_middle_the_losses_are_those_of_the_job_alone(
    base: ResidentBase, disturb: Callable[[Job], None]
) -> None:
    """The losses agree at every step, within the tolerance that docs/engine.md promises."""
    solo = Job(base, "solo")
    while not solo.ended:
        cohort_of(base, solo).train_round()
    first, neighbour, last = Job(base, "first"), Job(base, "neighbour", disturb), Job(base, "last")
    cohort = cohort_of(base, first, neighbour, last)
    while cohort.jobs:
        cohort.train_round()
    assert (neighbour.steps, len(solo.losses)) == ([1], solo.own.total_steps)
    for job in (first, last):
        assert job.ended == "published"
        assert job.losses == pytest.approx(solo.losses, rel=1e-4)
