"""Renews the leases of all jobs of a trainer, and writes their reports, in one thread and one transaction.

So a cohort of sixteen jobs takes two transactions a second, with one statement for all leases, and not 32.
While the database is slow, it takes one in two seconds: renewals are most of what many trainers ask of it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Protocol

import structlog
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from core.database import limit_waits
from core.jobs import lifecycle
from core.jobs.lifecycle import Lease, Progress
from worker.process.faults import REFUSED_VALUES
from worker.process.periodic import Periodic, attempt
from worker.trainer.report.rows import Rows

BEAT_SECONDS = 0.5
SLOW_BEAT_SECONDS = 2.0  # while the database is slow
STATEMENT_SECONDS = 3  # twice this is what a job's slow statement may cost its neighbours

log = structlog.get_logger()


@dataclass(frozen=True)
class Written:
    """The outcome of a transaction for one lease, which the lease takes in after the commit.

    `asked_at` is the value of time.monotonic() before the transaction began: the database counts the lease
    from that beginning, so whoever holds it must not count from later.
    """

    asked_at: float
    reports: int
    pause_requested: bool


class Renewable(Protocol):
    """A lease with reports. Whoever writes for it holds `writing`."""

    lease: Lease
    writing: Lock

    def progress_now(self) -> Progress:
        """Return the progress to write."""

    def write_reports(self, rows: Rows) -> int:
        """Write the pending reports, once the lease is renewed. Return how many."""

    def take_in(self, written: Written) -> None:
        """Take in what has been committed."""

    def lose(self) -> None:
        """Take in that another worker owns the job, or that nobody does."""

    def refuse(self, error: Exception) -> None:
        """Take in that the database refuses a report, and would refuse it again."""


class Heartbeats:
    """A thread that renews leases twice a second, or four times in a lease's time, while there is one.

    A renewal that takes more than 25 ms makes the next one rarer, up to one in two seconds.

    If the transaction for all fails, each lease takes one of its own, so that a job's fault is its own. No
    lease waits long for another one's lock or statement. A lease whose reports the database refuses drops
    them, and is renewed without them.
    """

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._changing = Lock()
        self._leases: list[Renewable] = []
        self._thread: Periodic | None = None

    def add(self, lease: Renewable) -> None:
        with self._changing:
            self._leases.append(lease)
            if self._thread is None:
                beat, slow_beat = (
                    min(beat, lease.lease.seconds / 4) for beat in (BEAT_SECONDS, SLOW_BEAT_SECONDS)
                )
                self._thread = Periodic("heartbeats", beat, self._beat, slow_beat)
                self._thread.start()

    def remove(self, lease: Renewable) -> None:
        """Renew the lease no more. A renewal that is under way may still end."""
        with self._changing:
            if lease in self._leases:
                self._leases.remove(lease)
            if not self._leases and self._thread is not None:
                self._thread.stop()
                self._thread = None

    def _beat(self) -> None:
        with self._changing:
            leases = list(self._leases)
        try:
            self.renew(leases)
        except Exception as error:
            if len(leases) < 2 or _is_away(error):
                raise
            log.warning("leases_renewed_one_by_one", reason=str(error).partition("\n")[0])
            for lease in leases:
                attempt("heartbeats", partial(self.renew, [lease]))

    def renew(self, leases: Sequence[Renewable]) -> None:
        """Renew the leases and write their reports in one transaction. Lost leases are renewed no more.

        A lease that is just being written to is left out: this renews it too.
        """
        idle = [lease for lease in leases if lease.writing.acquire(blocking=False)]
        try:
            if idle:
                self._renew_idle(idle)
        finally:
            for lease in idle:
                lease.writing.release()

    def _renew_idle(self, leases: Sequence[Renewable]) -> None:
        asked_at = time.monotonic()
        progress = {each.lease: each.progress_now() for each in leases}
        with self._sessions.begin() as session:
            limit_waits(session, lock_seconds=BEAT_SECONDS, statement_seconds=STATEMENT_SECONDS)
            renewed = lifecycle.renew_all(session, progress)
            reports = _write_reports(session, [each for each in leases if each.lease in renewed])
        for each in leases:
            if each.lease in renewed:
                each.take_in(Written(asked_at, reports[each.lease], renewed[each.lease]))
            else:
                each.lose()
                self.remove(each)


def _write_reports(session: Session, leases: Sequence[Renewable]) -> dict[Lease, int]:
    """Write the leases' reports. Return how many of each.

    The only lease learns it if the database refuses its reports, but not if it refuses the renewal before.
    """
    rows = Rows(session)
    try:
        reports = {each.lease: each.write_reports(rows) for each in leases}
        rows.flush()
        session.flush()
    except REFUSED_VALUES as error:
        if len(leases) == 1:
            leases[0].refuse(error)
        raise
    return reports


def _is_away(error: Exception) -> bool:
    """Return whether the database cannot be reached, so that no other transaction would succeed either."""
    no_answer = isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) is None
    return no_answer and isinstance(error, OperationalError | InterfaceError)
