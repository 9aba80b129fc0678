"""Tells the threads of a worker whether tasks wait for them: one of them looks for all."""

import time
from collections.abc import Collection
from threading import Lock

from sqlalchemy.orm import Session, sessionmaker

from core.database import reading
from core.work import lease as leases
from worker.process.turns import has_a_turn

FRESH_SECONDS = 1.0
READY_SECONDS = 5.0  # between two looks for tasks that wait for something else


class WaitingTasks:
    """The kinds of tasks that wait, as they were at most `fresh_seconds` ago. Any thread may ask.

    To take a task needs a lock that all workers wait for, and a query that orders the tasks. If a thousand
    workers did that every second for each class of tasks, the database would do nothing else.
    """

    def __init__(self, sessions: sessionmaker[Session], fresh_seconds: float = FRESH_SECONDS) -> None:
        self._reading, self._fresh_seconds = reading(sessions), fresh_seconds
        self._asking = Lock()
        self._kinds: set[str] = set()
        self._ready: set[str] = set()
        self._read_at = self._ready_at = float("-inf")

    def any_of(self, kinds: Collection[str]) -> bool:
        """Return whether a task of these kinds waits."""
        with self._asking:
            now = time.monotonic()
            if now - self._read_at >= self._fresh_seconds:
                with self._reading() as session:
                    self._kinds, self._read_at = leases.waiting_kinds(session), now
            if now - self._ready_at >= READY_SECONDS:
                with self._reading() as session:
                    self._ready, self._ready_at = find_ready(session), now
            return not (self._kinds | self._ready).isdisjoint(kinds)


def find_ready(session: Session) -> set[str]:
    """Return the kinds of tasks for which what they waited for has happened, if it is this worker's turn."""
    return leases.ready_kinds(session) if has_a_turn(session) else set()
