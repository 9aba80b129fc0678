"""Tells the threads of a worker whether tasks wait for them: one of them looks for all."""

import time
from collections.abc import Collection
from threading import Lock

from sqlalchemy.orm import Session, sessionmaker

from core.work import lease as leases

FRESH_SECONDS = 0.5


class WaitingTasks:
    """The kinds of tasks that wait, as they were at most `fresh_seconds` ago. Any thread may ask.

    To take a task needs a lock that all workers wait for, and a query that orders the tasks. If a thousand
    workers did that every second for each class of tasks, the database would do nothing else.
    """

    def __init__(self, sessions: sessionmaker[Session], fresh_seconds: float = FRESH_SECONDS) -> None:
        self._sessions, self._fresh_seconds = sessions, fresh_seconds
        self._asking = Lock()
        self._kinds: set[str] = set()
        self._read_at = float("-inf")

    def any_of(self, kinds: Collection[str]) -> bool:
        """Return whether a task of these kinds waits."""
        with self._asking:
            now = time.monotonic()
            if now - self._read_at >= self._fresh_seconds:
                self._kinds, self._read_at = self._read(), now
            return not self._kinds.isdisjoint(kinds)

    def _read(self) -> set[str]:
        with self._sessions() as session:
            session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})  # saves two round trips
            return leases.waiting_kinds(session)
