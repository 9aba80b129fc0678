"""What one worker asks of the database: the calls of its trainer, its supervisor and its other threads.

The row in the table of workers is left out: a trainer writes it every ten seconds, by two short transactions.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy.orm import Session, sessionmaker

from core import webhooks
from core.database import reading
from core.ids import new_id
from core.jobs import lifecycle, queue
from core.jobs.lifecycle import Lease, Progress
from core.jobs.spec import read_spec
from core.jobs.suspects import is_suspect
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import Adapter, File, Job
from core.work import lease as leases
from worker.process.turns import has_a_turn
from worker.supervisor.janitor import Janitor
from worker.supervisor.retention import Retention
from worker.supervisor.webhooks import MAX_CONCURRENT, MAX_PER_PROJECT
from worker.tasks.frame.waiting import find_ready
from worker.trainer.report.heartbeats import Heartbeats, Renewable
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.reporter import StepMetrics

STEPS = 1000


class DrivenHeartbeats(Heartbeats):
    """Heartbeats that the coroutine of a worker asks for, instead of a thread."""

    def add(self, lease: Renewable) -> None:
        pass

    def remove(self, lease: Renewable) -> None:
        pass


@dataclass
class Held:
    """A job that a worker has claimed, and the step that it has reached."""

    lease: JobLease
    project: str
    step: int = 0


class Duties:
    """The calls of one worker. Each blocks until the database has answered."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session], store: ObjectStore) -> None:
        self.owner = lifecycle.new_owner()
        self._settings, self._sessions, self._reading = settings, sessions, reading(sessions)
        self._beats = DrivenHeartbeats(sessions)
        self._janitor = Janitor(sessions, store, settings.scan_seconds, Retention.of(settings))

    def claim(self) -> Held | None:
        """Claim the next job, as `worker/trainer/train/claims.py` does."""
        claimed_at = time.monotonic()
        with self._sessions.begin() as session:
            lease = self._claim(session, takes_it=True)
            if lease is None:
                return None
            job = session.get_one(Job, lease.job_id)
        return Held(JobLease(self._sessions, lease, claimed_at, self._beats), job.project_id)

    def look_for_a_job(self) -> None:
        """Look at the queue as a trainer does whose jobs the next one may not join."""
        with self._sessions.begin() as session:
            self._claim(session, takes_it=False)

    def _claim(self, session: Session, *, takes_it: bool) -> Lease | None:
        settings = self._settings

        def accepts(row: Job) -> bool:
            is_suspect(session, row)
            return read_spec(row.spec) is not None and takes_it

        return lifecycle.claim(
            session,
            self.owner,
            settings.lease_seconds,
            nonce=new_id(""),
            project_jobs=settings.project_jobs,
            devices=settings.devices,
            accepts=accepts,
            looks_first=True,
        )

    def renew(self, held: Held) -> None:
        """Renew the lease of a job with no news."""
        self._beats.renew([held.lease])

    def report_a_step(self, held: Held) -> None:
        """Renew the lease of a job, and write one step: its metrics and its event."""
        held.step = step = held.step + 1
        held.lease.progress(Progress("training", step, STEPS, step / STEPS, 900.5, 237 * step, 9.0))
        data = {
            **{"step": step, "total_steps": STEPS, "train_loss": 1.5, "train_mean_token_accuracy": 0.75},
            **{
                "learning_rate": 1e-4,
                "grad_norm": 0.5,
                "tokens_per_second": 900.5,
                "trained_tokens": 237 * step,
            },
            **{"trained_seconds": 0.25 * step, "trainer_memory_bytes": 4_225_000_000, "valid_loss": None},
        }
        held.lease.metrics(StepMetrics(step, data), f"Step {step}/{STEPS}: training loss=1.50")
        self.renew(held)

    def finish(self, held: Held) -> None:
        """Publish the job's result, as rows that name no objects."""
        lease = held.lease.lease

        def write(session: Session) -> None:
            adapter = Adapter(
                id=new_id("adapter-"),
                project_id=held.project,
                job_id=lease.job_id,
                object_prefix=f"adapters/{lease.job_id}/{lease.attempt}",
                files=[],
                training={},
            )
            result = File(
                id=new_id("file-"),
                project_id=held.project,
                filename="step_metrics.csv",
                purpose="fine-tune-results",
                bytes=5000,
                sha256="0" * 64,
                object_key=f"results/{lease.job_id}",
            )
            lifecycle.finish(session, lease, adapter, result, trained_tokens=237 * held.step)

        held.lease.end(write)

    def release(self, lease: Lease) -> None:
        with self._sessions.begin() as session:
            lifecycle.release(session, lease, "Measured")

    def scan(self) -> None:
        """Look for lost leases and for waiting jobs, as `worker/supervisor/supervisor.py` does."""
        settings = self._settings
        with self._sessions.begin() as session:
            if has_a_turn(session):
                lifecycle.lose_expired_claims(session, settings.max_lost_attempts)
            queue.jobs_wait(session, settings.project_jobs, settings.devices)
            lifecycle.holds_a_claim(session, self.owner)

    def look_for_tasks(self) -> None:
        """Look for tasks of all kinds, as one thread of a worker does for the others."""
        with self._reading() as session:
            leases.waiting_kinds(session)

    def look_for_trackers(self) -> None:
        with self._reading() as session:
            find_ready(session)

    def look_for_webhooks(self) -> None:
        """Look for deliveries that are due, and take them, as `worker/supervisor/webhooks.py` does."""
        with self._reading() as session:
            if not webhooks.any_due(session):
                return
        with self._sessions.begin() as session:
            webhooks.claim_due(session, MAX_CONCURRENT, MAX_PER_PROJECT, [])

    def remove_what_is_over(self) -> None:
        self._janitor.clean()
