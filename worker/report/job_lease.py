"""Keeps a job's lease alive and carries its progress, metrics and events to the database.

The training thread only appends; this thread writes, in short fenced transactions. So the device never waits
for the database, and a database that is away for a while costs nothing but time: what was reported stays in
memory until it is written or the lease is lost.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar, Unpack

import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import LeaseLost
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.events import EventOptions, record_event
from core.jobs.lifecycle import PREPARING, Lease, Progress
from core.tables import Metric
from worker.process.periodic import Periodic

FLUSH_SECONDS = 0.5
RETRY_SECONDS = 0.2

log = structlog.get_logger()

Write = Callable[[Session], object]
T = TypeVar("T")


@dataclass(frozen=True)
class StepMetrics:
    step: int
    data: dict[str, Any]


class JobLease:
    """One job's line to the database. `check` tells the training thread whether it still owns the job."""

    is_best = True  # of several candidates one does
    decided = True  # several compete until one is left

    def __init__(self, sessions: sessionmaker[Session], lease: Lease, claimed_at: float) -> None:
        """`claimed_at` is what time.monotonic() said before the claim."""
        self.lease = lease
        self.pause_requested = False
        self._sessions = sessions
        self._flushing = threading.Lock()
        self._pending: list[Write] = []
        self._progress = replace(lease.last_progress, phase=PREPARING)
        self._progress_at = claimed_at
        self._renewed_at = claimed_at
        self._lost = False
        beat = min(FLUSH_SECONDS, lease.seconds / 4)
        self._thread = Periodic(f"job_lease-{lease.job_id}", beat, self._renew)
        self._thread.start()

    @property
    def lost(self) -> bool:
        """Whether the job belongs to another, or may: no renewal succeeded for the lease's time."""
        return self._lost or time.monotonic() - self._renewed_at > self.lease.seconds

    def check(self) -> None:
        """Raises LeaseLost where it is `lost`."""
        if self.lost:
            raise LeaseLost(f"{self.lease.job_id}: the lease of fence {self.lease.fence} is gone")

    def progress(self, progress: Progress) -> None:
        self._progress, self._progress_at = progress, time.monotonic()

    def enter(self, phase: str) -> None:
        """Another phase, with the job where it stood."""
        self.progress(replace(self._progress, phase=phase))

    def event(self, message: str, once_as: str | None = None, **options: Unpack[EventOptions]) -> None:
        """Of those that are told `once_as` the same, a job has one: steps made again tell nothing twice."""
        # Made here, so that a flush repeated after a lost answer adds one event
        event_id = f"ftevent-{_digest(self.lease.job_id, once_as)}" if once_as else new_id("ftevent-")
        self._pending.append(
            lambda session: record_event(session, self.lease.job_id, message, event_id=event_id, **options)
        )

    def metrics(self, metrics: StepMetrics, message: str) -> None:
        """One step's values: a row of the series, and the event that OpenAI's clients read."""
        event_id = new_id("ftevent-")

        def write(session: Session) -> None:
            row = insert(Metric).values(job_id=self.lease.job_id, step=metrics.step, data=metrics.data)
            session.execute(
                row.on_conflict_do_update(
                    index_elements=[Metric.job_id, Metric.step], set_={"data": row.excluded.data}
                )
            )
            record_event(
                session, self.lease.job_id, message, data=metrics.data, type="metrics", event_id=event_id
            )

        self._pending.append(write)

    def write(self, write: Write) -> None:
        """Have `write` done in the next fenced transaction. Doing it twice must change nothing."""
        self._pending.append(write)

    def commit(self, write: Callable[[Session], T]) -> T:
        """Write what is pending, then `write`, in one fenced transaction, trying again while the lease lasts.

        Returns what `write` returns. Raises LeaseLost. A commit whose answer was lost is repeated: `write`
        must be fenced, so that the second time finds its work done.
        """
        while True:
            self.check()
            try:
                return self._flush(write, lock_job=True)
            except DBAPIError as error:
                if not _passing(error):
                    raise
                log.warning("database_unreachable", job=self.lease.job_id, error=str(error.orig))
                time.sleep(RETRY_SECONDS)

    def close(self) -> None:
        """Stop renewing. What is pending is dropped: `commit` has written what mattered."""
        self._thread.stop()
        self._thread.join()

    def _renew(self) -> None:
        """Whatever it raises, the next beat tries again; a lease that nothing renews runs out by itself."""
        try:
            self._flush(_nothing, lock_job=False)
        except LeaseLost:
            self._lost = True
            self._thread.stop()

    def _flush(self, write: Callable[[Session], T], *, lock_job: bool) -> T:
        with self._flushing:
            asked_at = time.monotonic()
            count = len(self._pending)  # the training thread may append meanwhile
            with self._sessions.begin() as session:
                if lock_job:
                    lifecycle.owned_job(session, self.lease)  # its lock comes before its run's
                pause_requested = lifecycle.renew(session, self.lease, self._progress_now())
                for pending in self._pending[:count]:
                    pending(session)
                written = write(session)
            del self._pending[:count]
            self._renewed_at = asked_at
            self.pause_requested = pause_requested
            return written

    def _progress_now(self) -> Progress:
        """As it was told, with the seconds that have gone since then: a step may take minutes."""
        progress, age = self._progress, time.monotonic() - self._progress_at
        left = progress.seconds_left
        return replace(progress, seconds_left=None if left is None else max(0.0, left - age))


def _digest(job_id: str, name: str) -> str:
    return hashlib.sha256(f"{job_id} {name}".encode()).hexdigest()[:32]


def _nothing(_session: Session) -> None:
    """A heartbeat has nothing to write but what is pending."""


def _passing(error: DBAPIError) -> bool:
    """Whether another try may succeed: the connection broke, or the server restarts or is overloaded."""
    state = getattr(error.orig, "sqlstate", None)
    if state is None:  # the client's own: of the connection, or of a value that no server ever saw
        return error.connection_invalidated or isinstance(error, OperationalError | InterfaceError)
    return error.connection_invalidated or state[:2] in ("08", "40", "53", "55", "57")
