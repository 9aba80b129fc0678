"""Keeps a job's lease alive, and writes the job's progress, metrics and events to the database.

The training thread only appends reports. The trainer's `Heartbeats` write them in short fenced transactions,
so the device never waits for the database. If the database is away for a while, reports stay in memory until
they can be written, or until the lease is lost.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import JobError, LeaseLost
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.events import EVENT, event_row
from core.jobs.lifecycle import PREPARING, Lease, Progress
from core.monitoring import declared
from core.tables import Metric
from worker.process.faults import REFUSED_VALUES, SERVER_ERRORS
from worker.process.recorder import recorder
from worker.trainer.report.heartbeats import Heartbeats, Written
from worker.trainer.report.job_trace import JobTrace
from worker.trainer.report.reporter import JobEvent, Reporter, StepMetrics
from worker.trainer.report.rows import Rows

RETRY_SECONDS = 0.2

log = structlog.get_logger()

ROW = insert(Metric)
METRIC = ROW.on_conflict_do_update(
    index_elements=[Metric.job_id, Metric.step], set_={"data": ROW.excluded.data}
)

Write = Callable[[Session], object]
T = TypeVar("T")


class JobLease(Reporter):
    """The right to work on one job, and the channel for the job's reports to the database.

    `check` tells the training thread whether this trainer still owns the job.
    """

    is_best = True
    decided = True

    def __init__(
        self,
        sessions: sessionmaker[Session],
        lease: Lease,
        claimed_at: float,
        heartbeats: Heartbeats | None = None,
        trace: JobTrace | None = None,
    ) -> None:
        """`claimed_at` is the value of time.monotonic() just before the claim.

        The `heartbeats` are those of all jobs of the trainer; None is for a lease that stands alone.
        """
        self.lease = lease
        self.trace = trace or JobTrace()
        self.pause_requested = False
        self._sessions = sessions
        self.writing = threading.Lock()
        self._heartbeats = heartbeats or Heartbeats(sessions)
        self._pending: list[Callable[[Rows], object]] = []
        self._progress = replace(lease.last_progress, phase=PREPARING)
        self._progress_at = claimed_at
        self._renewed_at = claimed_at
        self._lost = False
        self._refused: Exception | None = None
        self._heartbeats.add(self)

    @property
    def lost(self) -> bool:
        """Whether another worker owns the job, or may own it: no renewal succeeded for the lease's time."""
        return self._lost or time.monotonic() - self._renewed_at > self.lease.seconds

    def check(self) -> None:
        """Raise LeaseLost if the lease is `lost`, and the database's error if it has refused a report."""
        if self.lost:
            raise LeaseLost(f"{self.lease.job_id}: the lease {self.lease.attempt} is gone")
        if self._refused is not None:
            raise self._refused

    def progress(self, progress: Progress) -> None:
        self._progress, self._progress_at = progress, time.monotonic()

    def enter(self, phase: str) -> None:
        """Report another phase, with the rest of the progress as it was."""
        self.progress(replace(self._progress, phase=phase))

    def report(self, event: JobEvent) -> None:
        job_id, once_as = self.lease.job_id, event.once_as
        # The id is made here, so that a flush that is repeated after a lost answer adds no second event
        event_id = f"ftevent-{_digest(job_id, once_as)}" if once_as else new_id("ftevent-")
        row = event_row(job_id, event.message, event_id, **event.options)
        if code := (event.options.get("data") or {}).get("code"):
            self.trace.event(str(code))
        self._pending.append(lambda rows: rows.add(EVENT, row))

    def metrics(self, metrics: StepMetrics, message: str) -> None:
        """Write one step's metrics as a row of the series, and as the event that OpenAI's clients read."""
        job_id, data = self.lease.job_id, metrics.data
        values = {"job_id": job_id, "step": metrics.step, "data": data}
        if (loss := data.get("valid_loss")) is not None:
            self.trace.event("validated", {"tunery.step": metrics.step, "tunery.valid_loss": loss})
        event = event_row(job_id, message, new_id("ftevent-"), data=data, type="metrics")

        def write(rows: Rows) -> None:
            rows.add(METRIC, values)
            rows.add(EVENT, event)

        self._pending.append(write)

    def write(self, write: Write) -> None:
        """Run `write` in the next fenced transaction. It must change nothing if it is run a second time."""
        self._pending.append(lambda rows: write(rows.flush()))

    def commit(self, write: Callable[[Session], T]) -> T:
        """Write all pending reports, then run `write`, in one fenced transaction. Return its result.

        If the database cannot be reached, try again while the lease lasts. Raises LeaseLost, and the
        database's error if it refuses a report or `write`. If the answer to a commit is lost, the commit is
        repeated. So `write` must be fenced or change nothing the second time.
        """
        while True:
            self.check()
            try:
                with self.writing:
                    return self._flush(write)
            except DBAPIError as error:
                if not _passing(error):
                    raise
                log.warning("database_unreachable", job=self.lease.job_id, error=str(error.orig))
                time.sleep(RETRY_SECONDS)

    def end(self, write: Callable[[Session], object]) -> None:
        """Commit `write`, which ends the job or gives it back.

        If the database refuses a report, all pending reports are dropped. Raises what `commit` raises, but
        not for a report.
        """
        try:
            self.commit(write)
        except REFUSED_VALUES:
            if self._refused is None:  # it was `write` itself, or the renewal
                raise
            with self.writing:
                self._pending.clear()
            self._refused = None
            self.commit(write)

    def fail(self, error: JobError) -> None:
        """End the job with an error. It never raises: without an end, the lease runs out."""
        recorder.count(declared.JOB_FAILURES, code=error.code)
        log.info("job_failed", job=self.lease.job_id, code=error.code, message=error.message)
        if self._end_if_possible(lambda session: lifecycle.fail(session, self.lease, error)):
            self.trace.mark("job.failed", error.code)

    def requeue(self, reason: str) -> None:
        """Give the job back after a fault that was not its own. It never raises, as `fail`."""
        recorder.count(declared.REQUEUES)
        told = f"{reason}. This is not the job's fault and costs it no attempt"
        if self._end_if_possible(lambda session: lifecycle.release(session, self.lease, told)):
            self.trace.mark("job.requeued", "outside_fault")

    def release(self, reason: str) -> None:
        """Give the job back. Raises what `end` raises."""
        self.end(lambda session: lifecycle.release(session, self.lease, reason))
        self.trace.mark("job.released")

    def _end_if_possible(self, write: Callable[[Session], object]) -> bool:
        """Commit the job's end, and return whether it is written.

        If that fails too, the lease runs out, and the scan requeues the job.
        """
        try:
            self.end(write)
        except (LeaseLost, *SERVER_ERRORS) as error:
            log.warning("end_not_written", job=self.lease.job_id, error=str(error))
            return False
        return True

    def finish_pause(self) -> bool:
        """Pause the job. Return False if its client has resumed it meanwhile. Raises what `commit` raises."""
        paused = self.commit(lambda session: lifecycle.finish_pause(session, self.lease))
        if paused:
            self.trace.mark("job.paused")
        else:
            self.pause_requested = False
        return paused

    def close(self) -> None:
        """Stop renewing. Pending reports are dropped: `commit` has written all important ones."""
        self._heartbeats.remove(self)
        with self.writing:  # what is being written comes to its end
            pass

    def progress_now(self) -> Progress:
        """Return the last progress, with the time left counted from now, because a step may take minutes."""
        progress, age = self._progress, time.monotonic() - self._progress_at
        left = progress.seconds_left
        return replace(progress, seconds_left=None if left is None else max(0.0, left - age))

    def write_reports(self, rows: Rows) -> int:
        """Write the pending reports, and return how many. The transaction has renewed the lease."""
        pending = self._pending[:]  # the training thread may append meanwhile
        for write in pending:
            write(rows)
        return len(pending)

    def take_in(self, written: Written) -> None:
        """Take in what has been committed. The caller holds `writing`."""
        del self._pending[: written.reports]
        self._renewed_at = written.asked_at
        self.pause_requested = written.pause_requested

    def lose(self) -> None:
        """Take in that the lease is gone."""
        self._lost = True

    def refuse(self, error: Exception) -> None:
        """Drop the pending reports, so that the job's end can be written. The caller holds `writing`."""
        log.error("reports_refused", job=self.lease.job_id, exc_info=error)
        self._refused = error
        self._pending.clear()

    def _flush(self, write: Callable[[Session], T]) -> T:
        asked_at = time.monotonic()
        with self._sessions.begin() as session:
            lifecycle.owned_job(session, self.lease)  # the job before its claim, as in every transaction
            pause_requested = lifecycle.renew(session, self.lease, self.progress_now())
            reports = self._write_or_refuse(session)
            result = write(session)
        self.take_in(Written(asked_at, reports, pause_requested))
        return result

    def _write_or_refuse(self, session: Session) -> int:
        rows = Rows(session)
        try:
            reports = self.write_reports(rows)
            rows.flush()
            session.flush()
        except REFUSED_VALUES as error:
            self.refuse(error)
            raise
        return reports


def _digest(job_id: str, name: str) -> str:
    return hashlib.sha256(f"{job_id} {name}".encode()).hexdigest()[:32]


def _passing(error: DBAPIError) -> bool:
    """Return whether another try may succeed: the connection broke, or the server restarts or is busy."""
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # the server sent no error: the connection failed, or a value could not be sent
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return error.connection_invalidated or state[:2] in ("08", "40", "53", "55", "57")
