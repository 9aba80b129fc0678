"""Validations of several jobs in one pass: whose fault ends which job."""

from collections.abc import Sequence

import pytest
import torch

from tests.fixtures.engine.cohort_jobs import (
    MAX_TOKENS,
    RowsOnADisk,
    ValidatedJob,
    break_device,
    cohort_of,
    lose_in_the_middle,
)
from tests.fixtures.engine.rows import make_rows
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import validate


def loss_of(base: ResidentBase, job: ValidatedJob) -> float:
    """Return the loss of the job's present state on its rows, from a pass of its own."""
    return validate(PassContext(base, MAX_TOKENS), job.own, job.validation_rows).loss


def test_the_validations_of_a_round_take_one_pass(base: ResidentBase) -> None:
    jobs = [ValidatedJob(base, name) for name in ("one", "other", "another")]
    passes: list[Sequence[str]] = []
    cohort = cohort_of(base, *jobs, on_validation=passes.append)
    cohort.train_round()
    expected = [loss_of(base, job) for job in jobs]
    cohort.train_round()
    assert passes == [["one", "other", "another"]]
    assert [job.steps for job in jobs] == [[1, 2]] * 3
    assert [job.validations[0] for job in jobs] == pytest.approx(expected, rel=1e-5)


def test_a_job_that_leaves_in_the_middle_of_a_joint_validation_costs_the_others_nothing(
    base: ResidentBase,
) -> None:
    stays, other, leaves = (ValidatedJob(base, name) for name in ("stays", "other", "leaves"))
    passes: list[Sequence[str]] = []
    cohort = cohort_of(base, stays, other, leaves, on_validation=passes.append)
    cohort.train_round()
    leaves.looks, leaves.on_look = 0, lose_in_the_middle
    cohort.train_round()
    assert passes == [["stays", "other", "leaves"]]
    assert (cohort.jobs, leaves.ended, leaves.validations) == ([stays, other], "left", [])
    assert [job.steps for job in (stays, other)] == [[1, 2]] * 2


@pytest.mark.parametrize("alone_too", [False, True])
def test_a_joint_validation_that_breaks_shows_job_by_job_whose_rows_it_was(
    base: ResidentBase, alone_too: bool
) -> None:
    passes: list[Sequence[str]] = []

    def run_out(names: Sequence[str]) -> None:
        passes.append(names)
        if len(names) > 1 or (alone_too and names == ["breaks"]):
            raise torch.OutOfMemoryError

    stays, breaks = (ValidatedJob(base, name, on_validation=run_out) for name in ("stays", "breaks"))
    cohort = cohort_of(base, stays, breaks, on_validation=run_out)
    cohort.train_round()
    cohort.train_round()
    assert passes == [["stays", "breaks"], ["stays"], ["breaks"]]
    assert (len(stays.validations), stays.steps) == (1, [1, 2])
    assert cohort.jobs == ([stays] if alone_too else [stays, breaks])
    assert breaks.error is None or breaks.error.code == "out_of_memory"


def test_rows_that_cannot_be_read_for_a_joint_validation_cost_their_job_alone(base: ResidentBase) -> None:
    rows = RowsOnADisk(make_rows(3, 0))
    stays, breaks = ValidatedJob(base, "stays"), ValidatedJob(base, "breaks", rows)
    cohort = cohort_of(base, stays, breaks)
    cohort.train_round()
    rows.failed = True
    cohort.train_round()
    assert (len(stays.validations), stays.steps) == (1, [1, 2])
    assert cohort.jobs == [stays]


def test_a_broken_device_in_a_joint_validation_ends_the_trainer(base: ResidentBase) -> None:
    passes: list[Sequence[str]] = []

    def break_down(names: Sequence[str]) -> None:
        passes.append(names)
        break_device()

    jobs = [ValidatedJob(base, name, on_validation=break_down) for name in ("one", "other")]
    cohort = cohort_of(base, *jobs, on_validation=break_down)
    cohort.train_round()
    with pytest.raises(torch.AcceleratorError):
        cohort.train_round()
    assert passes == [["one", "other"]], "nothing more is computed on a broken device"
    assert not any(job.ended for job in jobs)


def test_the_candidates_of_a_suspect_are_validated_only_after_its_checkpoint(base: ResidentBase) -> None:
    passes: list[Sequence[str]] = []
    suspect = ValidatedJob(base, "suspect", on_validation=passes.append)
    candidate = ValidatedJob(base, "another candidate", on_validation=passes.append)
    cohort = cohort_of(base, suspect, candidate, on_validation=passes.append)
    cohort.train_round()
    cohort.jobs.pop()
    suspect.evaluators.append(candidate.evaluator)
    suspect.alone = True
    cohort.train_round()
    assert passes == [["suspect"]], "`settle` sends the checkpoint, and then makes each validation"
