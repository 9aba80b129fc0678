"""The jobs that train together on the resident base model: how they join, step, leave, and fail alone."""

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import structlog

from core.errors import JobError, LeaseLost
from worker.devices.process_group import ProcessGroup
from worker.engine.device.health import device_is_broken, is_out_of_memory
from worker.engine.step.trainee import NonFiniteLoss, StepResult, Trainee
from worker.process.faults import SERVER_ERRORS, outside_fault
from worker.train.job import TrainingJob
from worker.train.server_probe import ServerProbe

log = structlog.get_logger()

Stepping = tuple[TrainingJob, Trainee]
"""A job, and one of its trainees that is to make a step."""


class Cohort:
    """Jobs on one base model. They join between rounds, and leave between micro-batches.

    A job that leaves in the middle of a round leaves with the state that it had before; its neighbours' round
    goes on. While one has to be alone, its neighbours stay, but hold still. A job that has been trained stays
    until it is published, and one to pause until it is paused: neither computes. Where several processes
    train together, jobs leave between rounds only.
    """

    def __init__(
        self, process_group: ProcessGroup, server_probe: ServerProbe, job_left: Callable[[], None]
    ) -> None:
        """`job_left` is called when there is room for another job."""
        self.jobs: list[TrainingJob] = []
        self._process_group = process_group
        self._server_probe = server_probe
        self._job_left = job_left

    @property
    def state_bytes(self) -> int:
        return sum(job.state_bytes for job in self.jobs)

    @property
    def admits_a_suspect(self) -> bool:
        """Whether nobody would compute beside one: no rows are being read."""
        return all(job.attached or job.being_published for job in self.jobs)

    @property
    def holds_a_suspect(self) -> bool:
        return any(job.alone for job in self.jobs)

    @property
    def is_taken_up(self) -> bool:
        """Whether the job that trains here shares its steps with no other."""
        return any(job.spec.trains_alone for job in self.jobs)

    def add(self, job: TrainingJob, prepare: Callable[[], None]) -> None:
        """Take in a claimed job. Where the same one is here still, under an older fence, that one leaves: its
        lease was lost, which its job_lease has not noticed yet."""
        for former in [held for held in self.jobs if held.lease.job_id == job.lease.job_id]:
            self._leave(former)
        self.jobs.append(job)
        self._guard(job, prepare)

    def train(self) -> bool:
        """One round for every job that is ready. False where all wait for rows, or for what was sent."""
        self._let_go()
        for job in [job for job in self._computing() if job.waits_to_be_attached]:
            self._guard(job, partial(job.attach, self._abandoning([job])))
        attached = [job for job in self._computing() if job.attached]
        for job in attached:
            if self._goes_on(job):  # it may leave while another one evaluates
                self._guard(job, partial(job.settle, self._abandoning([job])))
        for job in [job for job in attached if self._goes_on(job) and job.trained]:
            self._guard(job, job.publish)
            self._job_left()  # from the rounds, and from the memory
        unfinished = [job for job in attached if self._goes_on(job) and job.ready_to_step]
        if unfinished:
            self._take_a_step([(job, trainee) for job in unfinished for trainee in job.trainees])
        return bool(unfinished)

    def give_back(self) -> None:
        """Let other workers go on with all jobs. All send their checkpoints before one is waited for."""
        for job in list(self.jobs):
            self._guard(job, partial(job.give_back, "The worker shuts down"))
        for job in list(self.jobs):
            self._guard(job, job.wait_for_shipping)
            self._leave(job)

    def _computing(self) -> list[TrainingJob]:
        """All, or the one that has to be alone, but for those that hold still to be paused."""
        going_on = [job for job in self.jobs if self._goes_on(job)]
        return [job for job in going_on if job.alone] or going_on

    def _goes_on(self, job: TrainingJob) -> bool:
        return job in self.jobs and not job.pausing

    def _take_a_step(self, stepping: Sequence[Stepping]) -> None:
        began = time.monotonic()
        fault = None
        jobs = list(dict.fromkeys(job for job, _ in stepping))
        try:
            results = self._process_group.train_round(
                [trainee for _, trainee in stepping], self._abandoning(jobs)
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
            _let_go_of_the_round(fault)
            self._step_alone(stepping)

    def _take_in(
        self, stepping: Sequence[Stepping], results: Mapping[str, StepResult | Exception], seconds: float
    ) -> None:
        again = []
        for job, trainee in stepping:
            if job not in self.jobs:
                continue
            result = results.get(trainee.adapter.name)
            if result is None:
                continue
            if isinstance(result, NonFiniteLoss) and len(stepping) > 1:
                again.append((job, trainee))  # kernels that mask by 0 let a neighbour's NaN through
            else:
                self._guard(job, partial(job.after_step, trainee, result, seconds))
        self._step_alone(again)

    def _step_alone(self, stepping: Sequence[Stepping]) -> None:
        """Whose rows broke a round, by want of memory say, shows when each steps alone: no other suffers."""
        for job, trainee in stepping:
            if self._goes_on(job):
                self._take_a_step([(job, trainee)])

    def _abandoning(self, jobs: Sequence[TrainingJob]) -> Callable[[], bool]:
        """Asked between micro-batches: lets those go that have to; whether none of `jobs` goes on."""

        def abandon() -> bool:
            self._let_go()
            return self._process_group.stopping or not any(self._goes_on(job) for job in jobs)

        return abandon

    def _let_go(self) -> None:
        """Part with the jobs that have been published or paused or are not ours any more, and have those to
        pause hold still."""
        for job in list(self.jobs):
            self._guard(job, partial(self._look_at, job))
        for job in [job for job in self.jobs if self._goes_on(job) and job.job_lease.pause_requested]:
            if not job.being_published:
                self._guard(job, job.pause)

    def _look_at(self, job: TrainingJob) -> None:
        """Its end before its lease: that is gone once the end has been written."""
        if job.has_ended():
            self._leave(job)
        else:
            job.job_lease.check()

    def _guard(self, job: TrainingJob, action: Callable[[], object]) -> None:
        """Run one job's action; whatever it raises ends this job here and no other.

        Raises what says that the device is broken: no job can be blamed for that, and none go on.
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
            _let_go_of_the_round(error)
        self._leave(job)

    def _end_by(self, job: TrainingJob, error: Exception) -> None:
        """End a job that met something unforeseen: give it back where the fault lies outside of it."""
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
            self._server_probe.note_fault()
            self._lose(job, reason)

    def _fail(self, job: TrainingJob, error: JobError) -> None:
        log.info("job_failed", job=job.lease.job_id, code=error.code, message=error.message)
        self._end(job, lambda: job.fail(error))

    def _lose(self, job: TrainingJob, reason: str) -> None:
        self._end(job, lambda: job.lose(reason))

    def _end(self, job: TrainingJob, action: Callable[[], None]) -> None:
        """Write the job's end; where even that fails, its lease runs out and the scan finds it."""
        try:
            action()
        except (LeaseLost, *SERVER_ERRORS) as error:
            log.warning("end_not_written", job=job.lease.job_id, error=str(error))

    def _leave(self, job: TrainingJob) -> None:
        if job in self.jobs:
            self.jobs.remove(job)
            job.close()
            self._job_left()


def _let_go_of_the_round(error: BaseException) -> None:
    """Its traceback keeps what the round had computed, which may be all the memory there is."""
    told: BaseException | None = error
    while told is not None and told.__traceback__ is not None:
        traceback.clear_frames(told.__traceback__)
        told.__traceback__ = None  # errors may cause each other in a circle: this one is done
        told = told.__cause__ or told.__context__


def _raise(error: Exception) -> None:
    raise error
