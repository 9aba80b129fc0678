"""A thread of the supervising process that removes what the API says is gone, and what is too old."""

from sqlalchemy.orm import Session, sessionmaker

from core.storage.object_store import ObjectStore
from worker.process.periodic import Periodic
from worker.supervise.cleanup import (
    remove_deleted_adapters,
    remove_deleted_jobs,
    remove_expired_files,
    remove_old_deliveries,
    remove_orphans,
    remove_parts,
    remove_resume_checkpoints,
)

REMOVALS = (
    remove_resume_checkpoints,
    remove_orphans,
    remove_parts,
    remove_deleted_adapters,
    remove_deleted_jobs,
    remove_expired_files,
    remove_old_deliveries,
)


class Janitor(Periodic):
    """Apart from trainer and supervisor: neither a job nor a scan waits for a store that is away.

    Told to stop, it is not waited for: what it is at, the next one finds again.
    """

    def __init__(self, sessions: sessionmaker[Session], store: ObjectStore, seconds: float) -> None:
        super().__init__("janitor", seconds, self._clean)
        self._sessions = sessions
        self._store = store

    def _clean(self) -> None:
        for remove in REMOVALS:
            remove(self._sessions, self._store)
