"""The training loop: which jobs train together, what a round of theirs is, and what ends a job.

`TrainingLoop.run` takes jobs from the queue and trains them until it is told to stop, in rounds:

1. `_let_go`: jobs leave that were published or paused, or that this trainer does not own any more.
2. `_attach`: jobs whose rows have been read get their adapters on the base model.
3. `_validate_together`: validations of several adapters that are due are made in one pass.
4. `settle`: each job does what else is due: validation, samples, comparison of candidates, checkpoint.
5. `publish`: a job whose last step is settled sends its result to the store.
6. `_step`: one pass over the next batch of every other job makes one optimizer step of each. A step that is
   much larger than the others is spread over several rounds.

Whatever a job does is done inside `_guarded`, which says what ends a job: it ends alone. Between two
micro-batches the engine asks `_abandoning`, so that jobs can leave in the middle of a round.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from math import inf
from threading import Event

import structlog

from core.errors import JobError, LeaseLost, OutsideFault
from core.monitoring import declared
from core.settings import Settings
from core.tracing import spans
from worker.device.lending import Lending
from worker.engine.base.base_model import ResidentBase
from worker.engine.device.health import device_is_broken, is_out_of_memory
from worker.engine.step.passes import Abandoned
from worker.engine.step.trainee import NonFiniteLoss, StepResult, Trainee
from worker.process.faults import outside_fault
from worker.process.recorder import recorder
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.reader import Readers
from worker.trainer.report.evaluation import validate_together
from worker.trainer.report.job_trace import JobTrace, RoundTraces
from worker.trainer.train.claims import Claims
from worker.trainer.train.failures import out_of_memory, unexpected
from worker.trainer.train.first_reports import LoadReport
from worker.trainer.train.job import TrainingJob
from worker.trainer.train.server_probe import ServerProbe
from worker.trainer.train.stages import Stage

HELD_SECONDS = 1  # between two checks of jobs that make no steps now: a client may cancel or pause them too

log = structlog.get_logger()


class TrainingLoop:
    """The cohort: the jobs that train together on the resident base model, and their rounds.

    They join between rounds, and leave between micro-batches, with the state that they had before the step.
    Their neighbours' round goes on. If several processes train together, jobs leave between rounds only.
    """

    def __init__(
        self,
        settings: Settings,
        process_group: ProcessGroup,
        claims: Claims,
        readers: Readers,
        server_probe: ServerProbe,
        lending: Lending,
        bell: Event,
    ) -> None:
        """`bell` is rung when another job may join, or when a job that waits may go on."""
        self.jobs: list[TrainingJob] = []
        self._rows_of_those_who_left = ExitStack()  # a round reads them until it ends
        self._settings = settings
        self._process_group = process_group
        self._claims = claims
        self._readers = readers
        self._server_probe = server_probe
        self._lending = lending
        self.bell = bell
        self._looked_at = 0.0
        self._traces = RoundTraces()

    def run(self) -> None:
        """Train until told to stop, and give the jobs back. Raises errors that no job has caused."""
        with self._lending.slices.held():
            while not self._process_group.asked_to_stop():
                self._lending.answer(training=bool(self.jobs))
                self._take_jobs()
                if not (self.jobs and self.train_round()):
                    with self._lending.slices.released():  # chats have the device meanwhile
                        self.bell.wait(min(self._settings.scan_seconds, HELD_SECONDS if self.jobs else inf))
        self.give_back()  # answers go on meanwhile, as long as a stopping server lets them

    # Who joins

    def _take_jobs(self) -> None:
        """Take the jobs that may join, if the bell has rung or `scan_seconds` have passed."""
        if not self.bell.is_set() and time.monotonic() - self._looked_at < self._settings.scan_seconds:
            return
        self.bell.clear()
        self._looked_at = time.monotonic()
        while not self._process_group.stopping and (job := self._claims.take_next(self.jobs)):
            self.add(job)

    def add(self, job: TrainingJob) -> None:
        """Take in a claimed job, and begin to read its rows.

        If the cohort still holds the same job under an older fence, whose lease has been lost unnoticed, that
        one leaves first.
        """
        with self._rows_of_those_who_left:
            for former in [held for held in self.jobs if held.lease.job_id == job.lease.job_id]:
                self._leave(former)
            self.jobs.append(job)
            recorder.set(declared.COHORT, len(self.jobs))
            with self._guarded(job):
                job.start_reading(self._base_of(job), self._readers, then=self.bell.set)

    def _base_of(self, job: TrainingJob) -> ResidentBase:
        """Make a new job's base model resident, which may take a while.

        If the catalog has changed since the claim, the job must not replace its neighbours' base model.
        """
        is_resident = self._process_group.holder.holds(job.spec)
        if not is_resident and len(self.jobs) > 1:
            raise OutsideFault("The base model was changed in the catalog while other jobs train on it")
        with job.trace.part("job.load_base", {"tunery.base.resident": is_resident}):
            if not is_resident:
                self._lending.reclaim()
            return self._process_group.load(job.spec, LoadReport(job.job_lease))

    # What a round is

    def train_round(self) -> bool:
        """Train one round with every job that is ready.

        Return False if no job was ready: all of them wait for their rows, or for the end of their uploads.
        """
        with self._rows_of_those_who_left:
            self._let_go()
            self._attach()
            attached = [job for job in self._computing() if job.stage.is_attached]
            self._validate_together(attached)
            for job in attached:
                if self._goes_on(job):  # a job may leave while another one evaluates
                    with self._guarded(job):
                        job.settle(self._abandoning([job]))
            for job in attached:
                if self._goes_on(job) and job.stage is Stage.TRAINED:
                    with self._guarded(job):
                        job.publish()
                    self.bell.set()  # its place on the device is free, though it is still in the cohort
            ready = [job for job in attached if self._goes_on(job) and job.stage is Stage.READY_TO_STEP]
            if ready:
                self._step([(job, trainee) for job in ready for trainee in job.candidates.trainees])
            return bool(ready)

    def _let_go(self) -> None:
        """Let jobs leave that have been published or paused, or that this trainer does not own any more.

        Jobs whose client asked for a pause begin to pause: they hold still until that has been written.
        """
        for job in list(self.jobs):
            with self._guarded(job):
                if job.has_ended():  # first, because the lease is gone once the end has been written
                    self._leave(job)
                else:
                    job.job_lease.check()
        asked = [job for job in self.jobs if self._goes_on(job) and job.job_lease.pause_requested]
        for job in [job for job in asked if job.stage is not Stage.BEING_PUBLISHED]:
            with self._guarded(job):
                job.pause()

    def _attach(self) -> None:
        """Attach the jobs whose rows have been read, up to the first that does not fit beside the others."""
        for job in [job for job in self._computing() if job.stage is Stage.ROWS_READ]:
            waited = job.waits_for_memory
            with self._guarded(job):
                job.attach(self._abandoning([job]))
            if job.waits_for_memory and self._goes_on(job):
                return
            if waited or job.sees_images:
                self.bell.set()  # others may join again, or this job goes on at once

    def _validate_together(self, jobs: Sequence[TrainingJob]) -> None:
        """Make the validations that are due of several adapters in one pass, but not those of a suspect.

        After a fault they are still due, and each job makes its own as it settles. A suspect first sends a
        checkpoint. The pass goes on if a job leaves, so that the others lose nothing.
        """
        due = {job: found for job in jobs if not job.alone and (found := job.candidates.due_evaluators)}
        together = [evaluator for evaluators in due.values() for evaluator in evaluators]
        if len(together) > 1:
            with self._together(list(due), "validation_broke"):
                validate_together(self._process_group, together, self._abandoning(list(due)))

    def _step(self, stepping: Sequence[tuple[TrainingJob, Trainee]]) -> None:
        """Make one optimizer step with each of these trainees of jobs, in one pass over the batches of all.

        If the pass fails, each trainee makes the step alone. A job that fails there, for example because
        memory runs out, has failed by its own fault.
        """
        jobs = list(dict.fromkeys(job for job, _ in stepping))
        names = [trainee.name for _, trainee in stepping]
        again, results, began = list(stepping), None, time.monotonic()
        with self._guarded(jobs[0]) if len(names) == 1 else self._together(jobs, "round_broke"):
            results = self._process_group.train_round(names, abandon=self._abandoning(jobs))
            again = []
        seconds = time.monotonic() - began
        _record(results or {}, seconds)
        if spans.is_on():
            self._trace(stepping, results or {}, seconds)
        for job, trainee in stepping if results else ():  # an abandoned round has none
            result = results.get(trainee.name)
            if isinstance(result, NonFiniteLoss) and len(names) > 1:
                # The NaN may be a neighbour's: kernels that mask by 0 let it through
                again.append((job, trainee))
            elif job in self.jobs:
                with self._guarded(job):
                    job.candidates.take(trainee, result, seconds)
        for job, trainee in again:
            if self._goes_on(job):
                self._step([(job, trainee)])

    def _trace(
        self,
        stepping: Sequence[tuple[TrainingJob, Trainee]],
        results: Mapping[str, StepResult | Exception | None],
        seconds: float,
    ) -> None:
        made: dict[JobTrace, list[StepResult]] = {}
        for job, trainee in stepping:
            if isinstance(result := results.get(trainee.name), StepResult):
                made.setdefault(job.trace, []).append(result)
        if made:
            self._traces.note(made, seconds)

    def _computing(self) -> list[TrainingJob]:
        """Return the jobs that may compute: only the suspect if there is one, else all that do not pause.

        A suspect that waits for its neighbours' memory lets them compute.
        """
        going_on = [job for job in self.jobs if self._goes_on(job)]
        return [job for job in going_on if job.alone and not job.waits_for_memory] or going_on

    def _goes_on(self, job: TrainingJob) -> bool:
        return job in self.jobs and not job.pausing

    def _abandoning(self, jobs: Sequence[TrainingJob]) -> Callable[[], bool]:
        """Return the function that the engine calls between micro-batches: whether to abandon the work.

        Chats have their turn on the device, and then those jobs leave that have to. The work is abandoned if
        none of `jobs` goes on after that, or if this process was told to stop.
        """

        def abandon() -> bool:
            self._lending.answer(training=True)
            self._lending.slices.give()
            self._let_go()  # last, so that a job that was cancelled meanwhile computes no more
            return self._process_group.stopping or not any(self._goes_on(job) for job in jobs)

        return abandon

    # What ends a job

    @contextmanager
    def _guarded(self, job: TrainingJob) -> Iterator[None]:
        """Do a job's work in the block, as a part of its trace. If it fails, `_ends_alone` says what ends."""
        with job.trace.current(), self._ends_alone(job):
            yield

    @contextmanager
    def _ends_alone(self, job: TrainingJob) -> Iterator[None]:
        """Do a job's work in the block. If it fails, this job ends, and leaves the cohort alone.

        - Its lease is lost, for example because its client has cancelled it: nothing is written.
        - The job cannot go on, or it needs too much memory: it fails.
        - A server or a disk that it needs has failed: it goes back to the queue.
        - The device is broken: the error is raised, since no job has caused it and no job can go on.
        - All else is a mistake of Tunery, and the job fails.
        """
        try:
            yield
            return
        except LeaseLost as error:
            job.trace.mark("job.lease_lost")
            log.info("lease_lost", job=job.lease.job_id, reason=str(error))
        except JobError as error:
            job.job_lease.fail(error)
        except Exception as error:
            if device_is_broken(error):
                raise
            if is_out_of_memory(error):
                job.job_lease.fail(out_of_memory(job.spec, job.longest_row))
            elif reason := outside_fault(error):
                log.warning("outside_fault", job=job.lease.job_id, exc_info=error)
                self._server_probe.note_fault(*job.to_save)
                job.job_lease.requeue(reason)
            else:
                log.error("unexpected_error", job=job.lease.job_id, exc_info=error)
                job.job_lease.fail(unexpected())
            self._process_group.free_memory_of(error)
        self._leave(job)

    @contextmanager
    def _together(self, jobs: Sequence[TrainingJob], broke: str) -> Iterator[None]:
        """Do the work of several jobs in the block. If it fails, no job is blamed: each must do it alone."""
        try:
            yield
        except Abandoned:
            return
        except Exception as error:
            if device_is_broken(error):
                raise
            log.warning(broke, jobs=[job.lease.job_id for job in jobs], exc_info=error)
            self._process_group.free_memory_of(error)

    def _leave(self, job: TrainingJob) -> None:
        if job in self.jobs:
            self.jobs.remove(job)
            recorder.set(declared.COHORT, len(self.jobs))
            job.close()
            self._traces.leave(job.trace, last=not self.jobs)
            self._rows_of_those_who_left.callback(job.close_rows)
            self.bell.set()

    def give_back(self) -> None:
        """Give all jobs back, so that other workers can go on with them.

        All jobs send their checkpoints first. Only then does this method wait for the first of them.
        """
        with self._rows_of_those_who_left:
            for job in list(self.jobs):
                with self._guarded(job):
                    job.give_back("The worker shuts down")
            for job in list(self.jobs):
                with self._guarded(job):
                    job.shipping.wait()
                self._leave(job)


def _record(results: Mapping[str, StepResult | Exception | None], seconds: float) -> None:
    """Record a round for Prometheus. A round that was abandoned has no results, and took its time too."""
    made = [result for result in results.values() if isinstance(result, StepResult)]
    recorder.count(declared.ROUND_SECONDS, seconds)
    recorder.count(declared.STEPS, len(made))
    recorder.count(declared.TOKENS, sum(result.tokens for result in made))
