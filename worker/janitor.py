"""A thread of the supervising process that removes what the API says is gone, and what is too old."""

import threading

from sqlalchemy.orm import Session, sessionmaker

from core.storage import ObjectStore
from worker.cleanup import (
    remove_deleted_adapters,
    remove_expired_files,
    remove_old_deliveries,
    remove_parts,
    remove_resume_checkpoints,
)

REMOVALS = (
    remove_resume_checkpoints,
    remove_parts,
    remove_deleted_adapters,
    remove_expired_files,
    remove_old_deliveries,
)


class Janitor:
    """Apart from trainer and supervisor: neither a job nor a sweep waits for a store that is away."""

    def __init__(self, sessions: sessionmaker[Session], store: ObjectStore, seconds: float) -> None:
        self._sessions = sessions
        self._store = store
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Nobody waits for what it is at: the next one finds it again."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            for remove in REMOVALS:
                remove(self._sessions, self._store)
