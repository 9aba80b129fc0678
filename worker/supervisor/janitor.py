"""The janitor: a thread of the supervising process that repeats the removals of this folder.

It also adds up the usage, which needs no other thread.
"""

import time

from sqlalchemy.orm import Session, sessionmaker

from core.storage.object_store import ObjectStore
from worker.process.periodic import Periodic
from worker.process.turns import has_a_turn
from worker.supervisor.emptying import empty_artifacts
from worker.supervisor.retention import (
    Retention,
    delete_expired_files,
    delete_expired_tasks,
    end_overdue_uploads,
    remove_gone_servers,
    remove_old,
    remove_old_deliveries,
    remove_old_idempotency_records,
)
from worker.supervisor.usage import count_usage

RETENTION_SECONDS = 3600.0  # between two removals of what is too old, which is counted in days
REMOVALS = (
    end_overdue_uploads,
    delete_expired_tasks,
    delete_expired_files,
    remove_old_deliveries,
    remove_old_idempotency_records,
    remove_gone_servers,
)


def clean(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Delete what is over, and empty what was deleted. It never raises."""
    for remove in REMOVALS:
        remove(sessions)
    empty_artifacts(sessions, store)


class Janitor(Periodic):
    """Removes the bytes of things that were deleted, have ended or are too old.

    It has a thread of its own, so that a store that is away delays neither a job nor a scan. When it is
    stopped, nobody waits for it, and the next janitor removes the rest.
    """

    def __init__(
        self, sessions: sessionmaker[Session], store: ObjectStore, seconds: float, retention: Retention
    ) -> None:
        """Clean every `seconds`, or more rarely if there are many workers."""
        super().__init__("janitor", seconds, self.clean)
        self._sessions = sessions
        self._store = store
        self._retention = retention
        self._retention_at = time.monotonic()

    def clean(self) -> None:
        """Clean if it is this worker's turn."""
        is_late = time.monotonic() >= self._retention_at
        with self._sessions() as session:
            drawn = has_a_turn(session)
        if drawn:
            clean(self._sessions, self._store)
            count_usage(self._sessions)
            if is_late:
                remove_old(self._sessions, self._retention)
        if is_late:  # also without a turn: about ten workers remove in each hour, whatever their number
            self._retention_at = time.monotonic() + RETENTION_SECONDS
