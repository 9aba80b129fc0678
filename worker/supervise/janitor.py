"""The janitor: a thread of the supervising process that repeats the removals of `cleanup.py`."""

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
    """Removes the bytes of things that were deleted, have ended or are too old.

    It has a thread of its own, so that a store that is away delays neither a job nor a scan. When it is
    stopped, nobody waits for it, and the next janitor removes the rest.
    """

    def __init__(self, sessions: sessionmaker[Session], store: ObjectStore, seconds: float) -> None:
        """Clean every `seconds`."""
        super().__init__("janitor", seconds, self._clean)
        self._sessions = sessions
        self._store = store

    def _clean(self) -> None:
        for remove in REMOVALS:
            remove(self._sessions, self._store)
