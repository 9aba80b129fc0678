"""Claims jobs from the queue: which job may join those that train now, and when none may."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.lifecycle import Lease
from core.jobs.spec import BeyondThisRelease, JobSpec, read_spec
from core.jobs.suspects import is_suspect
from core.monitoring import declared
from core.process.failpoints import reached
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import Job
from worker.grading.grading_thread import GradingThread
from worker.process.recorder import recorder
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reinforce.job_grading import JobGrading
from worker.trainer.report.heartbeats import Heartbeats
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.job_trace import JobTrace
from worker.trainer.save.shipping import Shipping
from worker.trainer.train.job import TrainingJob
from worker.trainer.train.server_probe import ServerProbe
from worker.trainer.train.stages import Stage

SHIPPED_AT_ONCE = 4  # jobs; each file is uploaded in several parts at once

log = structlog.get_logger()


class Claims:
    """Claims the queue's next job, if it may join the jobs that train now.

    Only the queue's next job may join. Otherwise it waits, and so do all jobs behind it: no job joins until
    the waiting job can be taken. So no job is overtaken for ever because it needs another base model or has a
    larger adapter. Only a job that this release cannot train is overtaken: it stays in the queue, unchanged,
    for a worker that can train it.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        store: ObjectStore,
        owner: str,
        process_group: ProcessGroup,
        server_probe: ServerProbe,
        bell: Event,
        grading: GradingThread,
        say_that_it_waits: Callable[[], object],
    ) -> None:
        """`bell` is rung when a job has shipped something, and when a claim should soon be tried again.

        `say_that_it_waits` is called when jobs are left in the queue on purpose: the store or the disk fails,
        or this release cannot train them. Otherwise the supervisor would think that the trainer is stuck.
        """
        self.shippers = ThreadPoolExecutor(SHIPPED_AT_ONCE, thread_name_prefix="shipper")
        self.passed_over: set[str] = set()
        """The ids of the jobs that this release cannot train: their specifications never change"""
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._owner = owner
        self._process_group = process_group
        self._server_probe = server_probe
        self._bell = bell
        self._grading = grading
        self._say_that_it_waits = say_that_it_waits
        self._heartbeats = Heartbeats(sessions)
        self._nonce = new_id("")  # of the next lease; kept until a claim with it has been answered
        self._unanswered = False

    def take_next(self, jobs: Sequence[TrainingJob]) -> TrainingJob | None:
        """Claim the next job, if it may join `jobs`.

        Return None if it may not, or if the database cannot be reached. In the second case, the claim may
        have been committed. The next call finds the job by the nonce, soon if only the connection has broken.
        """
        if not self._have_room(jobs):
            return None
        if not self._server_probe.allow_a_job():
            self._say_that_it_waits()
            return None
        claimed_at, began = time.monotonic(), time.time_ns()
        try:
            found = self._claim(jobs)
        except SQLAlchemyError as error:
            log.warning("claim_failed", error=str(error))
            if not self._unanswered:
                self._bell.set()
            self._unanswered, found = True, None
        else:
            self._unanswered = False  # under the lock, it would have found a claim whose answer was lost
        if found is None:
            if self.passed_over:
                self._say_that_it_waits()
            return None
        reached("claim.committed")
        recorder.count(declared.CLAIMS)
        self._nonce = new_id("")
        lease, row = found
        trace = JobTrace.begin(lease, row, self._owner, began)
        job_lease = JobLease(self._sessions, lease, claimed_at, self._heartbeats, trace)
        shipping = Shipping(self.shippers, ended=self._bell.set)
        grading = JobGrading(self._grading, row, ended=self._bell.set)
        return TrainingJob(
            self._settings, self._store, self._process_group, job_lease, row, shipping, grading
        )

    def _have_room(self, jobs: Sequence[TrainingJob]) -> bool:
        """Return whether any job may join: not a full cohort, and not a job that trains alone.

        A suspect trains alone until it has saved a checkpoint, and a job that waits for memory keeps others
        out until it fits beside its neighbours.
        """
        full = len(jobs) >= self._settings.cohort_jobs
        return not full and not any(
            job.alone or job.waits_for_memory or job.spec.trains_alone for job in jobs
        )

    def _claim(self, jobs: Sequence[TrainingJob]) -> tuple[Lease, Job] | None:
        """Claim the first job of the queue that this release can train, if it may join `jobs`."""

        def accepts(row: Job) -> bool:
            spec = self._readable(row)
            return spec is not None and self._may_join(spec, is_suspect(session, row), jobs)

        while True:
            known = len(self.passed_over)
            with self._sessions.begin() as session:
                lease = lifecycle.claim(
                    session,
                    self._owner,
                    self._settings.lease_seconds,
                    nonce=self._nonce,
                    project_jobs=self._settings.project_jobs,
                    devices=self._settings.devices,
                    accepts=accepts,
                    passed_over=self.passed_over,
                    # Most often no job waits, or the next one is refused: nobody should wait for that
                    looks_first=not self._unanswered,
                )
                if lease is not None:
                    return lease, session.get_one(Job, lease.job_id)
            if len(self.passed_over) == known:
                return None

    def _readable(self, row: Job) -> JobSpec | None:
        """Return the job's specification. A job that this release cannot train is passed over from now on."""
        try:
            return read_spec(row.spec)
        except BeyondThisRelease as error:
            log.warning("job_is_beyond_this_release", job=row.id, reason=str(error))
            self.passed_over.add(row.id)
            return None

    def _may_join(self, spec: JobSpec, suspect: bool, jobs: Sequence[TrainingJob]) -> bool:
        """Return whether a job can train beside `jobs`. The first job may have any size.

        Beside a suspect, which may have ended its last trainer, the others hold still. A job that still reads
        its rows would not.
        """
        if not jobs:
            return True
        if suspect and not all(job.stage.is_attached or job.stage is Stage.BEING_PUBLISHED for job in jobs):
            return False
        holder = self._process_group.holder
        if spec.trains_alone or not holder.holds(spec):
            return False
        room = self._settings.cohort_bytes
        if room is None:
            room = self._process_group.room_for_adapters
        return sum(job.state_bytes for job in jobs) + holder.state_bytes(spec) <= room
