"""Renews the leases of all jobs of a trainer, and writes their reports, in one thread and one transaction.

A cohort of sixteen jobs takes two transactions a second so, and not 32.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Protocol

import structlog
from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.orm import Session, sessionmaker

from core.errors import LeaseLost
from worker.process.periodic import Periodic, attempt

BEAT_SECONDS = 0.5
STATEMENT_SECONDS = 3  # twice this is what a job's slow statement may cost its neighbours

log = structlog.get_logger()


@dataclass(frozen=True)
class Written:
    """What a transaction has written for a lease, to take in once it is committed."""

    asked_at: float
    reports: int
    pause_requested: bool


class Renewable(Protocol):
    """A lease with reports. Whoever writes for it holds `writing`."""

    writing: Lock

    @property
    def seconds(self) -> float: ...

    def write_reports(self, session: Session, asked_at: float) -> Written:
        """Renew the lease and write its reports. Raises LeaseLost.

        `asked_at` is the value of time.monotonic() before the transaction began: the database counts the
        lease from that beginning, so whoever holds it must not count from later.
        """

    def take_in(self, written: Written) -> None:
        """Take in what has been committed."""

    def renew(self) -> None:
        """Do all of this in a transaction of its own, unless somebody else writes for the lease."""


class Heartbeats:
    """A thread that renews leases twice a second, or four times in a lease's time, while there is one.

    If the transaction for all fails, each lease takes one of its own, so that a job's fault is its own. No
    lease waits long for another one's lock or statement.
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
                beat = min(BEAT_SECONDS, lease.seconds / 4)
                self._thread = Periodic("heartbeats", beat, self._beat)
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
        if len(leases) < 2 or not self._renew_together(leases):
            for lease in leases:
                attempt("heartbeats", lease.renew)

    def _renew_together(self, leases: Sequence[Renewable]) -> bool:
        """Renew the leases in one transaction. Return False if that failed because of one of them.

        A lease that is just being written to is left out: this renews it too.
        """
        idle = [lease for lease in leases if lease.writing.acquire(blocking=False)]
        asked_at = time.monotonic()
        try:
            with self._sessions.begin() as session:
                limit_waits(session)
                written = [lease.write_reports(session, asked_at) for lease in idle]
            for lease, each in zip(idle, written, strict=True):
                lease.take_in(each)
        except LeaseLost:
            return False
        except Exception as error:
            if _is_away(error):
                raise
            log.warning("leases_renewed_one_by_one", reason=str(error).partition("\n")[0])
            return False
        finally:
            for lease in idle:
                lease.writing.release()
        return True


def limit_waits(session: Session) -> None:
    """Let no statement of the transaction take long, or wait longer for a lock than a beat lasts."""
    limits = {"lock_timeout": BEAT_SECONDS, "statement_timeout": STATEMENT_SECONDS}
    session.execute(
        select(*(func.set_config(name, f"{1000 * limit:.0f}", True) for name, limit in limits.items()))
    )


def _is_away(error: Exception) -> bool:
    """Return whether the database cannot be reached, so that no other transaction would succeed either."""
    no_answer = isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) is None
    return no_answer and isinstance(error, OperationalError | InterfaceError)
