"""The janitor: a thread of the supervising process that repeats the removals of this folder.

It also adds up the usage, which needs no other thread.
"""

import random
import time

from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from core.storage.object_store import ObjectStore
from core.tables import Worker
from worker.process.periodic import Periodic
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
AT_A_TIME = 10  # workers; of more workers, so many clean in each period, whatever their number
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


def has_a_turn(session: Session, drawn: float) -> bool:
    """Return whether a worker cleans now, by a number from 0 to 1 that it has drawn.

    What is over is found by one worker as by a thousand. So no worker needs to know of the others' turns.
    """
    workers = session.scalar(select(func.count()).where(Worker.expires_at > func.now())) or 0
    return drawn * workers < AT_A_TIME


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
        if is_late:
            self._retention_at = time.monotonic() + RETENTION_SECONDS
        with self._sessions() as session:
            if not has_a_turn(session, random.random()):  # noqa: S311
                return
        clean(self._sessions, self._store)
        count_usage(self._sessions)
        if is_late:
            remove_old(self._sessions, self._retention)
