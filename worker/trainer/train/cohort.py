"""The jobs that train together on the resident base model: how they join, step and leave.

If a job fails, only that job leaves, and its neighbours train on.
"""

import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import structlog

from core.errors import JobError, LeaseLost
from worker.engine.device.health import device_is_broken, is_out_of_memory
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import NonFiniteLoss, StepResult, Trainee
from worker.process.faults import SERVER_ERRORS, outside_fault
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.report.evaluation import validate_together
from worker.trainer.train.job import TrainingJob
from worker.trainer.train.server_probe import ServerProbe
from worker.trainer.train.stages import Stage

log = structlog.get_logger()

Stepping = tuple[TrainingJob, Trainee]
"""A job, with one of its trainees that makes the next step."""


class Cohort:
    """Jobs on one base model. They join between rounds, and leave between micro-batches.

    A job that leaves in the middle of a round leaves with the state that it had before its step. Its
    neighbours' round goes on. If several processes train together, jobs leave between rounds only.

    A suspect trains alone: its neighbours stay in the cohort, but hold still. A trained job stays until it
    has been published, and a job whose client asked for a pause stays until it has been paused. Neither
    computes.
    """

    def __init__(
        self,
        process_group: ProcessGroup,
        server_probe: ServerProbe,
        job_left: Callable[[], None],
        let_others_compute: Callable[[], None] = lambda: None,
    ) -> None:
        """`job_left` is called whenever another job may find room.

        `let_others_compute` is called between micro-batches: others may use the device until it returns.
        """
        self.jobs: list[TrainingJob] = []
        self._left: list[TrainingJob] = []  # jobs whose rows are still open
        self._process_group = process_group
        self._server_probe = server_probe
        self._job_left = job_left
        self._let_others_compute = let_others_compute

    @property
    def state_bytes(self) -> int:
        return sum(job.state_bytes for job in self.jobs)

    @property
    def admits_a_suspect(self) -> bool:
        """Whether all jobs would hold still beside a suspect. A job that reads its rows would not."""
        return all(job.stage.is_attached or job.stage is Stage.BEING_PUBLISHED for job in self.jobs)

    @property
    def holds_a_suspect(self) -> bool:
        return any(job.alone for job in self.jobs)

    @property
    def is_exclusive(self) -> bool:
        """Whether no other job may join: one trains alone, or waits until its neighbours leave it memory."""
        return any(job.waits_for_memory or job.spec.trains_alone for job in self.jobs)

    def add(self, job: TrainingJob, prepare: Callable[[], None]) -> None:
        """Take in a claimed job, and run `prepare` as its first action.

        The cohort may still hold the same job under an older fence: that lease has been lost, but its
        `JobLease` has not noticed yet. Then the job of the older fence leaves first.
        """
        with self._closing_rows():
            for former in [held for held in self.jobs if held.lease.job_id == job.lease.job_id]:
                self._leave(former)
            self.jobs.append(job)
            self._guard(job, prepare)

    def train(self) -> bool:
        """Train one round with every job that is ready.

        Return False if no job was ready: all of them wait for their rows, or for the end of their uploads.
        """
        with self._closing_rows():
            return self._train()

    def _train(self) -> bool:
        self._let_go()
        self._attach()
        attached = [job for job in self._computing() if job.stage.is_attached]
        self._validate_together(attached)
        for job in attached:
            if self._goes_on(job):  # a job may leave while another one evaluates
                self._guard(job, partial(job.settle, self._abandoning([job])))
        for job in [job for job in attached if self._goes_on(job) and job.stage is Stage.TRAINED]:
            self._guard(job, job.publish)
            self._job_left()  # its place on the device is free, though the job is still in the cohort
        ready = [job for job in attached if self._goes_on(job) and job.stage is Stage.READY_TO_STEP]
        if ready:
            self._take_a_step([(job, trainee) for job in ready for trainee in job.trainees])
        return bool(ready)

    def _validate_together(self, jobs: Sequence[TrainingJob]) -> None:
        """Make the validations that are due of several adapters in one pass, but not those of a suspect.

        After a fault they are still due, and each job makes its own as it settles. This shows whose it was.
        A suspect first sends a checkpoint. The pass goes on if a job leaves, so that the others lose nothing.
        """
        due = {job: job.due_evaluators for job in jobs if not job.alone}
        due = {job: evaluators for job, evaluators in due.items() if evaluators}
        together = [evaluator for evaluators in due.values() for evaluator in evaluators]
        if len(together) < 2:
            return
        try:
            validate_together(self._process_group, together, self._abandoning([*due]))
        except Abandoned:
            return
        except Exception as error:
            if device_is_broken(error):
                raise
            log.warning("validation_broke", jobs=[job.lease.job_id for job in due], exc_info=error)
            self._free_memory_of(error)

    def _attach(self) -> None:
        """Attach the jobs whose rows have been read, up to the first that does not fit beside the others."""
        for job in [job for job in self._computing() if job.stage is Stage.ROWS_READ]:
            waited = job.waits_for_memory
            self._guard(job, partial(job.attach, self._abandoning([job])))
            if job.waits_for_memory and self._goes_on(job):
                return
            if waited:
                self._job_left()  # others may join again

    def give_back(self) -> None:
        """Give all jobs back, so that other workers can go on with them.

        All jobs send their checkpoints first. Only then does this method wait for the first of them.
        """
        with self._closing_rows():
            for job in list(self.jobs):
                self._guard(job, partial(job.give_back, "The worker shuts down"))
            for job in list(self.jobs):
                self._guard(job, job.wait_for_shipping)
                self._leave(job)

    @contextmanager
    def _closing_rows(self) -> Iterator[None]:
        """Close the rows of the jobs that leave inside, at the end: a round reads rows until it ends."""
        try:
            yield
        finally:
            while self._left:
                self._left.pop().close_rows()

    def _computing(self) -> list[TrainingJob]:
        """Return the jobs that may compute: only the suspect if there is one, else all that do not pause.

        A suspect that waits for its neighbours' memory lets them compute.
        """
        going_on = [job for job in self.jobs if self._goes_on(job)]
        return [job for job in going_on if job.alone and not job.waits_for_memory] or going_on

    def _goes_on(self, job: TrainingJob) -> bool:
        return job in self.jobs and not job.pausing

    def _take_a_step(self, stepping: Sequence[Stepping]) -> None:
        began = time.monotonic()
        fault = None
        jobs = list(dict.fromkeys(job for job, _ in stepping))
        try:
            results = self._process_group.train_round(
                [trainee.name for _, trainee in stepping], abandon=self._abandoning(jobs)
            )
        except Exception as error:
            if device_is_broken(error):
                raise
            fault = error
        if fault is None:
            self._take_in(stepping, results, time.monotonic() - began)
        elif len(stepping) == 1:
            self._guard(jobs[0], partial(_raise, fault))
        else:
            log.warning("round_broke", jobs=[job.lease.job_id for job in jobs], exc_info=fault)
            self._free_memory_of(fault)
            self._step_alone(stepping)

    def _take_in(
        self, stepping: Sequence[Stepping], results: Mapping[str, StepResult | Exception], seconds: float
    ) -> None:
        if not results:  # the round was abandoned
            return
        again = []
        for job, trainee in stepping:
            if job not in self.jobs:
                continue
            result = results.get(trainee.name)
            if result is None:
                self._guard(job, partial(job.after_share, trainee, seconds))
            elif isinstance(result, NonFiniteLoss) and len(stepping) > 1:
                # The NaN may be a neighbour's: kernels that mask by 0 let it through
                again.append((job, trainee))
            else:
                self._guard(job, partial(job.after_step, trainee, result, seconds))
        self._step_alone(again)

    def _step_alone(self, stepping: Sequence[Stepping]) -> None:
        """Step the trainees one by one, after a round that failed together.

        This shows whose rows broke the round, for example because memory ran out. Only that job then fails.
        """
        for job, trainee in stepping:
            if self._goes_on(job):
                self._take_a_step([(job, trainee)])

    def _abandoning(self, jobs: Sequence[TrainingJob]) -> Callable[[], bool]:
        """Return the function that is called between micro-batches and says whether to abandon the work.

        The function first lets those jobs go that have to leave. It returns True if none of `jobs` goes on
        after that, or if this process was told to stop.
        """

        def abandon() -> bool:
            self._let_others_compute()
            self._let_go()  # last, so that a job that was cancelled meanwhile computes no more
            return self._process_group.stopping or not any(self._goes_on(job) for job in jobs)

        return abandon

    def _let_go(self) -> None:
        """Let jobs leave that have been published or paused, or that this trainer does not own any more.

        Jobs whose client asked for a pause begin to pause.
        """
        for job in list(self.jobs):
            self._guard(job, partial(self._look_at, job))
        for job in [job for job in self.jobs if self._goes_on(job) and job.job_lease.pause_requested]:
            if job.stage is not Stage.BEING_PUBLISHED:
                self._guard(job, job.pause)

    def _look_at(self, job: TrainingJob) -> None:
        """Let the job leave if it has ended, and check its lease otherwise.

        The order matters: once the end has been written, the lease is gone.
        """
        if job.has_ended():
            self._leave(job)
        else:
            job.job_lease.check()

    def _guard(self, job: TrainingJob, action: Callable[[], object]) -> None:
        """Run one job's action. If it fails, only this job leaves the cohort.

        If the error says that the device is broken, it is raised: no job has caused it, and no job can go on.
        """
        try:
            action()
            return
        except LeaseLost as error:
            log.info("lease_lost", job=job.lease.job_id, reason=str(error))
        except JobError as error:
            self._fail(job, error)
        except Exception as error:
            if device_is_broken(error):
                raise
            self._end_by(job, error)
            self._free_memory_of(error)
        self._leave(job)

    def _end_by(self, job: TrainingJob, error: Exception) -> None:
        """End a job after an unexpected error: give it back if the fault is not its own, else fail it."""
        if is_out_of_memory(error):
            self._fail(job, job.out_of_memory())
            return
        reason = outside_fault(error)
        if reason is None:
            log.error("unexpected_error", job=job.lease.job_id, exc_info=error)
            message = "The trainer met an unexpected error; the worker's log has it under this job's id."
            self._fail(job, JobError("internal_error", message))
        else:
            log.warning("outside_fault", job=job.lease.job_id, exc_info=error)
            self._server_probe.note_fault(*job.to_save)
            self._end(job, lambda: job.requeue(reason))

    def _fail(self, job: TrainingJob, error: JobError) -> None:
        log.info("job_failed", job=job.lease.job_id, code=error.code, message=error.message)
        self._end(job, lambda: job.fail(error))

    def _end(self, job: TrainingJob, action: Callable[[], None]) -> None:
        """Write the job's end. If the write fails too, the lease runs out, and the scan requeues the job."""
        try:
            action()
        except (LeaseLost, *SERVER_ERRORS) as error:
            log.warning("end_not_written", job=job.lease.job_id, error=str(error))

    def _free_memory_of(self, error: Exception) -> None:
        """Free what was computed until the error came, so that the next step finds all memory."""
        _let_go_of_the_round(error)
        self._process_group.free_memory()

    def _leave(self, job: TrainingJob) -> None:
        if job in self.jobs:
            self.jobs.remove(job)
            job.close()
            self._left.append(job)
            self._job_left()


def _let_go_of_the_round(error: BaseException) -> None:
    """Free the tensors that the failed round computed.

    The tracebacks of the round's errors keep the tensors alive, and they may fill the device's memory.
    """
    current: BaseException | None = error
    while current is not None and current.__traceback__ is not None:
        traceback.clear_frames(current.__traceback__)
        current.__traceback__ = None  # this also ends the loop if the errors name each other as their cause
        current = current.__cause__ or current.__context__


def _raise(error: Exception) -> None:
    raise error
