"""Rounds that break: only the job that breaks them leaves, and the others step."""

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch

from tests.fixtures.engine.cohort_jobs import MAX_TOKENS, MIDDLE, Job, break_device, cohort_of
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import make_spec, make_trainee
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import StepResult, Trainee


def test_a_job_that_turns_non_finite_leaves_alone(base: ResidentBase) -> None:
    stays, bursts = Job(base, "stays"), Job(base, "bursts")
    with torch.no_grad():
        bursts.trainee.adapter.parameters.master[0] = float("nan")
    cohort = cohort_of(base, stays, bursts)
    cohort.train_round()
    assert cohort.jobs == [stays]
    assert bursts.error is not None
    assert bursts.error.code == "non_finite_loss"
    assert stays.trainee.step == 1
    assert stays.trainee.adapter.parameters.master.isfinite().all()


def test_a_job_that_is_not_finite_beside_others_alone_is_judged_by_its_step_alone(
    base: ResidentBase,
) -> None:
    """The NaN may be a neighbour's that came through a mask, since 0 times NaN is NaN."""
    neighbour, infected = Job(base, "neighbour"), Job(base, "infected")
    rounds: list[Sequence[str]] = []

    def infect(names: Sequence[str]) -> None:
        if len(names) > 1:
            for gradient in infected.own.adapter.parameters.lane_gradients:
                gradient.fill_(float("nan"))

    cohort = cohort_of(base, neighbour, infected, on_round=rounds.append, in_round=infect)
    cohort.train_round()
    assert rounds == [["neighbour", "infected"], ["infected"]]
    assert cohort.jobs == [neighbour, infected]
    assert (neighbour.steps, infected.steps) == ([1], [1])
    alone = make_trainee(base, "alone", make_spec(), make_rows(12, 0))
    train_round(PassContext(base, MAX_TOKENS), [alone])
    assert torch.equal(infected.trainee.adapter.parameters.master, alone.adapter.parameters.master)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (torch.OutOfMemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out_of_memory"),
        (RuntimeError(), "internal_error"),
    ],
)
def test_what_breaks_a_round_ends_the_job_that_breaks_it_alone(
    base: ResidentBase, error: Exception, code: str
) -> None:
    stays, breaks = Job(base, "stays"), Job(base, "breaks")

    def break_down(names: Sequence[str]) -> None:
        """Break the round after some of its gradients have been gathered."""
        if "breaks" in names and breaks.looks >= MIDDLE:
            raise error

    cohort = cohort_of(base, stays, breaks, in_round=break_down)
    cohort.train_round()
    assert cohort.jobs == [stays]
    assert breaks.error is not None
    assert breaks.error.code == code
    alone = make_trainee(base, "alone", make_spec(), make_rows(12, 0))
    train_round(PassContext(base, MAX_TOKENS), [alone])
    assert torch.equal(stays.trainee.adapter.parameters.master, alone.adapter.parameters.master)


def test_what_a_broken_round_has_computed_is_gone_before_its_jobs_step_alone(
    base: ResidentBase,
) -> None:
    """Otherwise each job would run out of memory too: an error keeps its frames alive, and its cause's."""
    computed: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def run_out() -> None:
        activations = torch.ones(8)
        computed.append(weakref.ref(activations))
        raise torch.OutOfMemoryError

    def break_down(names: Sequence[str]) -> None:
        alive.extend(activations() is not None for activations in computed)
        if "first" in names:
            try:
                run_out()
            except torch.OutOfMemoryError as error:
                raise RuntimeError from error

    first, second = Job(base, "first"), Job(base, "second")
    gc.disable()  # otherwise the collector might free by chance what a cycle of references keeps
    try:
        cohort_of(base, first, second, on_round=break_down).train_round()
    finally:
        gc.enable()
    assert alive == [False, False, False], "what the joint round computed, twice, and what the first one did"
    assert (first.ended, second.steps) == ("failed", [1])


def test_memory_is_given_back_before_the_jobs_of_a_broken_round_step_alone(
    base: ResidentBase,
) -> None:
    """A GPU's memory would stay in PyTorch's blocks, cut for the tensors of the joint round."""
    done: list[Sequence[str]] = []

    def run_out(names: Sequence[str]) -> None:
        done.append(names)
        if len(names) > 1:
            raise torch.OutOfMemoryError

    jobs = Job(base, "first"), Job(base, "second")
    cohort_of(base, *jobs, on_round=run_out, on_free=lambda: done.append("freed")).train_round()
    assert done == [["first", "second"], "freed", ["first"], ["second"]]


@pytest.mark.parametrize("names", [["alone"], ["one", "two"]])
@pytest.mark.parametrize("during", ["the round", "what follows the step"])
def test_a_broken_device_ends_the_trainer_and_fails_no_job(
    base: ResidentBase, names: list[str], during: str
) -> None:
    jobs = [Job(base, name) for name in names]
    if during == "the round":
        cohort = cohort_of(base, *jobs, on_round=break_device)
    else:
        cohort = cohort_of(base, *jobs)
        for job in jobs:
            job.on_step = break_device
    with pytest.raises(torch.AcceleratorError):
        cohort.train_round()
    assert cohort.jobs == jobs
    assert not any(job.ended for job in jobs)


class UpdateRunsOut(Trainee):
    def take_step(self, *_: object) -> StepResult:
        raise torch.OutOfMemoryError


def test_an_update_that_breaks_is_its_jobs_own_and_the_others_step_once(
    base: ResidentBase,
) -> None:
    first, breaks, last = (Job(base, name) for name in ("first", "breaks", "last"))
    breaks.own = breaks.trainee = UpdateRunsOut(breaks.own.adapter, breaks.spec, breaks.rows)
    cohort = cohort_of(base, first, breaks, last)
    cohort.train_round()
    assert cohort.jobs == [first, last]
    assert breaks.error is not None
    assert breaks.error.code == "out_of_memory"
    assert [job.steps for job in (first, last)] == [[1], [1]]
    assert [job.trainee.step for job in (first, last)] == [1, 1]


def test_a_pause_leaves_a_round_that_broke_with_every_step_taken_in(
    base: ResidentBase,
) -> None:
    """Each job steps alone after that. A job that has stepped may leave while the next one steps."""
    first, second = Job(base, "first"), Job(base, "second")

    def break_and_pause(names: Sequence[str]) -> None:
        if len(names) > 1:
            raise RuntimeError
        first.job_lease.pause_requested = names == ["second"]

    cohort = cohort_of(base, first, second, on_round=break_and_pause)
    cohort.train_round()
    assert (first.ended, first.steps) == ("paused", [1])
    assert (cohort.jobs, second.steps) == ([second], [1])
