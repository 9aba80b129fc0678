"""Rounds of a cohort on a tiny base model: which jobs step, which wait, and which leave, and when."""

import errno
import gc
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs
from torch import Tensor

from core.errors import JobError, LeaseLost
from core.jobs.spec import Hyperparameters, TrainingOptions
from core.objectives.dpo import Dpo
from core.settings import Settings
from tests.fixtures.engine.process_group import process_group_on
from tests.fixtures.engine.rows import make_rows
from tests.fixtures.engine.training import evaluate, make_spec, make_trainee
from worker.device.lending import Lending
from worker.device.model_slot import ModelSlot
from worker.device.turns import Turns
from worker.engine.base.base_model import ResidentBase
from worker.engine.step import loop
from worker.engine.step.context import PassContext
from worker.engine.step.loop import Validation, train_round, validate, validate_together
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row
from worker.rows.row_store import store_rows
from worker.trainer.devices import process_group as process_groups
from worker.trainer.report.evaluation import Evaluator
from worker.trainer.report.training_record import TrainingRecord
from worker.trainer.train.loop import TrainingLoop
from worker.trainer.train.server_probe import ServerProbe
from worker.trainer.train.stages import Stage

MAX_TOKENS = 30  # so that a round of one job takes at least two micro-batches
MIDDLE = 3  # the number of the look at the lease before the second micro-batch


class Job:
    """A TrainingJob without servers: it counts the looks at its lease, and remembers how it ended."""

    def __init__(
        self,
        base: ResidentBase,
        name: str,
        on_look: Callable[["Job"], None] = lambda _: None,
        batch_size: int = 4,
        rows: int = 12,
        **changes: Any,
    ):
        size = Hyperparameters(n_epochs=2, batch_size=batch_size, learning_rate_multiplier=1.0)
        self.spec = make_spec(hyperparameters=size, **changes)
        self.rows = store_rows(make_rows(rows, 0))
        self.own: Trainee = make_trainee(base, name, self.spec, self.rows)
        self.trainee: Any = self.own
        self.lease = SimpleNamespace(job_id=name)
        self.job_lease = SimpleNamespace(
            check=self._look, pause_requested=False, fail=self.fail, requeue=self.requeue
        )
        self.shipping = SimpleNamespace(wait=self.wait_for_shipping)
        self.candidates = self  # its only adapter
        self.longest_row = None
        self.pausing = False
        self.waits_for_memory = False
        self.fits = True
        self.state_bytes = 1
        self.to_save = 1, [f"checkpoints/{name}/"]
        self.arrived: Callable[[], bool] = lambda: True
        self.alone = False
        self.looks = 0
        self.settled = 0
        self.shares = 0
        self.given_back_for = ""
        self.on_wait: Callable[[], object] = lambda: None
        self.evaluated: list[Row] = []
        self._base = base
        self.steps: list[int] = []
        self.losses: list[float] = []
        self.looks_since = 0
        self.ended = ""
        self._idle_stage: Stage | None = None
        self.error: JobError | None = None
        self._on_look = on_look

    def _look(self) -> None:
        self.looks += 1
        self._on_look(self)

    @property
    def trainees(self) -> list[Any]:
        return [self.trainee]

    @property
    def due_evaluators(self) -> list[Evaluator]:
        return []

    def take(self, _trainee: Any, result: Any, _seconds: float) -> None:
        if isinstance(result, Exception):
            raise result
        if result is None:
            self.shares += 1
            return
        self.steps.append(result.step)
        self.losses.append(result.loss)

    def settle(self, abandon: Callable[[], bool]) -> None:
        self.settled += 1
        if self.evaluated:
            evaluate(
                PassContext(self._base, MAX_TOKENS, abandon=abandon), self.trainee.adapter, self.evaluated
            )

    @property
    def stage(self) -> Stage:
        if self._idle_stage is not None:
            return self._idle_stage
        return Stage.TRAINED if self.own.finished else Stage.READY_TO_STEP

    def attach(self, _abandon: Callable[[], bool]) -> None:
        self.waits_for_memory = not self.fits
        if self.fits:
            self._idle_stage = None

    def publish(self) -> None:
        self._stop_computing(Stage.BEING_PUBLISHED)

    def has_ended(self) -> bool:
        if not (self.arrived() and (self.stage is Stage.BEING_PUBLISHED or self.pausing)):
            return False
        self._end("paused" if self.pausing else "published")
        return True

    def pause(self) -> None:
        self.pausing = True

    def give_back(self, reason: str) -> None:
        self.given_back_for = reason

    def wait_for_shipping(self) -> None:
        self.on_wait()
        self._end("given back")

    def fail(self, error: JobError) -> None:
        self.error = error
        self._end("failed")

    def requeue(self, _reason: str) -> None:
        self._end("requeued")

    def close(self) -> None:
        self._end("left")
        self._stop_computing(Stage.LEFT)

    def close_rows(self) -> None:
        self.rows.close()

    @property
    def has_closed_rows(self) -> bool:
        return all(file.closed for file in self.rows.files)

    def _stop_computing(self, stage: Stage) -> None:
        self._idle_stage, self.trainee = stage, None
        self.state_bytes = 0

    def _end(self, how: str) -> None:
        self.ended = self.ended or how
        self.left_with = self.own.adapter.parameters.master.clone()


def cohort_of(base: ResidentBase, *jobs: Job) -> TrainingLoop:
    """Return a trainer's loop with these jobs. No test here claims others, reads rows or asks the store."""
    nothing: Any = None
    process_group = process_group_on(base, MAX_TOKENS, *(job.own for job in jobs))
    bell = Event()
    lending = Lending(process_group.slot, Turns(), bell.set)
    server_probe = ServerProbe(nothing, pause=1)
    cohort = TrainingLoop(Settings(), process_group, nothing, nothing, server_probe, lending, bell)
    cohort.jobs = list(jobs)  # type: ignore[arg-type]
    return cohort


def lose_in_the_middle(job: Job) -> None:
    if job.looks == MIDDLE:
        raise LeaseLost("gone")


def pause_in_the_middle(job: Job) -> None:
    job.job_lease.pause_requested = job.looks == MIDDLE


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
    monkeypatch.setattr(ModelSlot, "holds", lambda *_: True)  # no catalog has the base of these tests
    again = []

    def start_reading(*_: Any, **__: Any) -> None:
        again.append(Job(base, "job"))  # the name must be free by now

    claimed: Any = SimpleNamespace(
        lease=SimpleNamespace(job_id="job"), spec=former.spec, start_reading=start_reading
    )
    cohort.add(claimed)
    assert former.ended == "left"
    assert cohort.jobs == [stays, claimed]
    assert again


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
        huge._on_look = lambda job: lose_in_the_middle(job)
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
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The huge job makes its whole step alone. If it made a share, later rounds would break again."""
    huge, small = huge_and_small(base)
    computed: list[int] = []

    def round_that_breaks(context: PassContext, trainees: Sequence[Trainee]) -> Any:
        computed.append(len(trainees))
        if huge.trainee in trainees and gathered(huge).any():
            raise torch.OutOfMemoryError

        def look() -> bool:
            if huge.trainee in trainees and len(trainees) == 1 and gathered(huge).any():
                raise torch.OutOfMemoryError
            return context.abandon()

        return train_round(replace(context, abandon=look), trainees)

    cohort = cohort_of(base, huge, small)
    into_the_step(cohort, huge)
    made = len(small.steps)
    monkeypatch.setattr(loop, "train_round", round_that_breaks)
    cohort.train_round()
    assert huge.error is not None
    assert huge.error.code == "out_of_memory"
    assert (cohort.jobs, small.steps[made:]) == ([small], [made + 1])


@pytest.mark.parametrize("suspect", [False, True])
def test_a_job_that_waits_for_memory_lets_its_neighbours_step_and_attaches_before_those_behind_it(
    base: ResidentBase, suspect: bool
) -> None:
    stays, waits, behind = (Job(base, name) for name in ("stays", "waits", "behind"))
    waits._idle_stage = behind._idle_stage = Stage.ROWS_READ
    waits.alone, waits.fits = suspect, False
    cohort = cohort_of(base, stays, waits, behind)
    assert cohort.train_round()
    assert (stays.steps, waits.steps, behind.steps) == ([1], [], [])
    waits.fits = True
    assert cohort.train_round()
    assert waits.steps == [1]
    assert (stays.steps, behind.steps) == (([1], []) if suspect else ([1, 2], [1]))


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
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The NaN may be a neighbour's that came through a mask, since 0 times NaN is NaN."""
    neighbour, infected = Job(base, "neighbour"), Job(base, "infected")
    complete_gradient = infected.trainee.complete_gradient

    def round_that_infects(context: PassContext, trainees: Sequence[Trainee]) -> Any:
        def complete() -> Tensor:
            if len(trainees) > 1:
                infected.trainee.adapter.parameters.gradient.fill_(float("nan"))
            return complete_gradient()

        monkeypatch.setattr(infected.trainee, "complete_gradient", complete)
        return train_round(context, trainees)

    monkeypatch.setattr(loop, "train_round", round_that_infects)
    cohort = cohort_of(base, neighbour, infected)
    cohort.train_round()
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
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    stays, breaks = Job(base, "stays"), Job(base, "breaks")

    def round_that_breaks(context: PassContext, trainees: Sequence[Trainee]) -> Any:
        def look() -> bool:
            """Break the round after some of its gradients have been gathered."""
            if breaks.trainee in trainees and breaks.looks >= MIDDLE:
                raise error
            return context.abandon()

        return train_round(replace(context, abandon=look), trainees)

    monkeypatch.setattr(loop, "train_round", round_that_breaks)
    cohort = cohort_of(base, stays, breaks)
    cohort.train_round()
    assert cohort.jobs == [stays]
    assert breaks.error is not None
    assert breaks.error.code == code
    alone = make_trainee(base, "alone", make_spec(), make_rows(12, 0))
    train_round(PassContext(base, MAX_TOKENS), [alone])
    assert torch.equal(stays.trainee.adapter.parameters.master, alone.adapter.parameters.master)


def test_what_a_broken_round_has_computed_is_gone_before_its_jobs_step_alone(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each job would run out of memory too: an error keeps its frames alive, and its cause's."""
    computed: list[weakref.ref[torch.Tensor]] = []
    alive: list[bool] = []

    def run_out() -> None:
        activations = torch.ones(8)
        computed.append(weakref.ref(activations))
        raise torch.OutOfMemoryError

    def round_that_breaks(context: PassContext, trainees: Sequence[Trainee]) -> Any:
        alive.extend(activations() is not None for activations in computed)
        if trainees == [second.trainee]:
            return train_round(context, trainees)
        try:
            run_out()
        except torch.OutOfMemoryError as error:
            raise RuntimeError from error

    monkeypatch.setattr(loop, "train_round", round_that_breaks)
    first, second = Job(base, "first"), Job(base, "second")
    gc.disable()  # otherwise the collector might free by chance what a cycle of references keeps
    try:
        cohort_of(base, first, second).train_round()
    finally:
        gc.enable()
    assert alive == [False, False, False], "what the joint round computed, twice, and what the first one did"
    assert (first.ended, second.steps) == ("failed", [1])


def test_memory_is_given_back_before_the_jobs_of_a_broken_round_step_alone(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's memory would stay in PyTorch's blocks, cut for the tensors of the joint round."""
    done: list[object] = []

    def round_that_breaks(context: PassContext, trainees: Sequence[Trainee]) -> Any:
        done.append(len(trainees))
        if len(trainees) > 1:
            raise torch.OutOfMemoryError
        return train_round(context, trainees)

    monkeypatch.setattr(loop, "train_round", round_that_breaks)
    monkeypatch.setattr(process_groups, "collect_garbage", done.append)
    cohort_of(base, Job(base, "first"), Job(base, "second")).train_round()
    assert done == [2, base.device, 1, 1]


@pytest.mark.parametrize("names", [["alone"], ["one", "two"]])
@pytest.mark.parametrize("during", ["the round", "what follows the step"])
def test_a_broken_device_ends_the_trainer_and_fails_no_job(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch, names: list[str], during: str
) -> None:
    jobs = [Job(base, name) for name in names]

    def break_down(*_: object) -> Any:
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    if during == "the round":
        monkeypatch.setattr(loop, "train_round", break_down)
    else:
        monkeypatch.setattr(Job, "take", break_down)
    cohort = cohort_of(base, *jobs)
    with pytest.raises(torch.AcceleratorError):
        cohort.train_round()
    assert cohort.jobs == jobs
    assert not any(job.ended for job in jobs)


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


def test_an_update_that_breaks_is_its_jobs_own_and_the_others_step_once(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, breaks, last = (Job(base, name) for name in ("first", "breaks", "last"))

    def run_out(_step: int) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(breaks.trainee._optimizer, "step", run_out)
    cohort = cohort_of(base, first, breaks, last)
    cohort.train_round()
    assert cohort.jobs == [first, last]
    assert breaks.error is not None
    assert breaks.error.code == "out_of_memory"
    assert [job.steps for job in (first, last)] == [[1], [1]]
    assert [job.trainee.step for job in (first, last)] == [1, 1]


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


def test_a_pause_leaves_a_round_that_broke_with_every_step_taken_in(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each job steps alone after that. A job that has stepped may leave while the next one steps."""
    first, second = Job(base, "first"), Job(base, "second")

    def round_that_breaks(context: PassContext, trainees: Sequence[Trainee]) -> Any:
        if len(trainees) > 1:
            raise RuntimeError
        first.job_lease.pause_requested = trainees == [second.trainee]
        return train_round(context, trainees)

    monkeypatch.setattr(loop, "train_round", round_that_breaks)
    cohort = cohort_of(base, first, second)
    cohort.train_round()
    assert (first.ended, first.steps) == ("paused", [1])
    assert (cohort.jobs, second.steps) == ([second], [1])


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


class ValidatedJob(Job):
    """A job that is evaluated after each step, on rows of its own."""

    def __init__(self, base: ResidentBase, name: str, on_look: Callable[[Job], None] = lambda _: None):
        super().__init__(base, name, on_look, training=TrainingOptions(learning_rate=1e-2, eval_steps=1))
        self.validation_rows = make_rows(3, len(name))
        self.validations: list[float] = []
        reporter: Any = SimpleNamespace(
            progress=lambda _: None,
            metrics=lambda metrics, _: self.validations.append(metrics.data["valid_loss"]),
            decided=False,
            is_best=False,
        )
        group = process_group_on(base, MAX_TOKENS, self.own)
        self.evaluator = Evaluator(
            group, self.own, reporter, self.validation_rows, self.spec, TrainingRecord()
        )

    @property
    def due_evaluators(self) -> list[Evaluator]:
        return [self.evaluator] if self.evaluator.is_due else []

    def take(self, trainee: Any, result: Any, seconds: float) -> None:
        super().take(trainee, result, seconds)
        self.evaluator.step(result, seconds)

    def settle(self, abandon: Callable[[], bool]) -> None:
        super().settle(abandon)
        self.evaluator.validate(abandon)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The names of the adapters that are evaluated together, pass by pass."""
    seen: list[list[str]] = []

    def note_names(context: PassContext, validations: Sequence[Validation]) -> Any:
        seen.append([each.trainee.adapter.name for each in validations])
        return validate_together(context, validations)

    monkeypatch.setattr(loop, "validate_together", note_names)
    return seen


def loss_of(base: ResidentBase, job: ValidatedJob) -> float:
    """Return the loss of the job's present state on its rows, from a pass of its own."""
    return validate(PassContext(base, MAX_TOKENS), job.own, job.validation_rows).loss


def test_the_validations_of_a_round_take_one_pass(base: ResidentBase, passes: list[list[str]]) -> None:
    jobs = [ValidatedJob(base, name) for name in ("one", "other", "another")]
    cohort = cohort_of(base, *jobs)
    cohort.train_round()
    expected = [loss_of(base, job) for job in jobs]
    passes.clear()
    cohort.train_round()
    assert passes == [["one", "other", "another"]]
    assert [job.steps for job in jobs] == [[1, 2]] * 3
    assert [job.validations[0] for job in jobs] == pytest.approx(expected, rel=1e-5)


def test_a_job_that_leaves_in_the_middle_of_a_joint_validation_costs_the_others_nothing(
    base: ResidentBase, passes: list[list[str]]
) -> None:
    stays, other, leaves = (ValidatedJob(base, name) for name in ("stays", "other", "leaves"))
    cohort = cohort_of(base, stays, other, leaves)
    cohort.train_round()
    leaves.looks, leaves._on_look = 0, lose_in_the_middle
    cohort.train_round()
    assert passes == [["stays", "other", "leaves"]]
    assert (cohort.jobs, leaves.ended, leaves.validations) == ([stays, other], "left", [])
    assert [job.steps for job in (stays, other)] == [[1, 2]] * 2


@pytest.mark.parametrize("alone_too", [False, True])
def test_a_joint_validation_that_breaks_shows_job_by_job_whose_rows_it_was(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch, alone_too: bool
) -> None:
    stays, breaks = ValidatedJob(base, "stays"), ValidatedJob(base, "breaks")
    cohort = cohort_of(base, stays, breaks)
    cohort.train_round()
    sizes: list[int] = []

    def run_out(context: PassContext, validations: Sequence[Validation]) -> Any:
        sizes.append(len(validations))
        if len(validations) > 1 or (alone_too and validations[0].trainee is breaks.own):
            raise torch.OutOfMemoryError
        return validate_together(context, validations)

    monkeypatch.setattr(loop, "validate_together", run_out)
    cohort.train_round()
    assert sizes == [2, 1, 1]
    assert (len(stays.validations), stays.steps) == (1, [1, 2])
    assert cohort.jobs == ([stays] if alone_too else [stays, breaks])
    assert breaks.error is None or breaks.error.code == "out_of_memory"


def test_rows_that_cannot_be_read_for_a_joint_validation_cost_their_job_alone(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, breaks = ValidatedJob(base, "stays"), ValidatedJob(base, "breaks")
    cohort = cohort_of(base, stays, breaks)
    cohort.train_round()
    monkeypatch.setattr(breaks.evaluator, "_valid_rows", UnreadableRows())
    cohort.train_round()
    assert (len(stays.validations), stays.steps) == (1, [1, 2])
    assert cohort.jobs == [stays]


class UnreadableRows:
    """Three rows on a disk that has failed."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, place: Any) -> Any:
        raise OSError(errno.EIO, "Input/output error")


def test_a_broken_device_in_a_joint_validation_ends_the_trainer(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [ValidatedJob(base, name) for name in ("one", "other")]
    cohort = cohort_of(base, *jobs)
    cohort.train_round()

    sizes: list[int] = []

    def break_down(_context: PassContext, validations: Sequence[Validation]) -> Any:
        sizes.append(len(validations))
        raise torch.AcceleratorError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(loop, "validate_together", break_down)
    with pytest.raises(torch.AcceleratorError):
        cohort.train_round()
    assert sizes == [2], "nothing more is computed on a broken device"
    assert not any(job.ended for job in jobs)


def test_the_candidates_of_a_suspect_are_validated_only_after_its_checkpoint(
    base: ResidentBase, monkeypatch: pytest.MonkeyPatch, passes: list[list[str]]
) -> None:
    suspect, candidate = ValidatedJob(base, "suspect"), ValidatedJob(base, "another candidate")
    cohort = cohort_of(base, suspect, candidate)
    cohort.train_round()
    cohort.jobs.pop()
    monkeypatch.setattr(
        ValidatedJob, "due_evaluators", [suspect.evaluator, candidate.evaluator], raising=True
    )
    suspect.alone = True
    cohort.train_round()
    assert passes == [["suspect"]], "`settle` sends the checkpoint, and then makes each validation"


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
    assert cohort._bell.is_set(), "its memory is not there for another job"
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
