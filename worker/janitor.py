"""A thread of the supervising process that removes from the object store what the API says is gone."""

import threading

from sqlalchemy.orm import Session, sessionmaker

from core.storage import ObjectStore
from worker.cleanup import remove_deleted_adapters, remove_expired_files, remove_parts


class Janitor:
    """Apart from the supervisor, whose sweep must not wait for a store that is away."""

    def __init__(self, sessions: sessionmaker[Session], store: ObjectStore, seconds: float) -> None:
        self._sessions = sessions
        self._store = store
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """What it is at is found again by the next one, so nobody waits for it."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            for remove in (remove_parts, remove_deleted_adapters, remove_expired_files):
                remove(self._sessions, self._store)
