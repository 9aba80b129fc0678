"""Tests the object store and the disk before a trainer takes another job."""

import tempfile
import time

import structlog

from core.storage.object_store import PROBE_BYTES, STORE_ERRORS, ObjectStore

MAX_PAUSE_SECONDS = 60.0  # well below the time after which a supervisor kills an idle trainer as stuck
PROBE_SECONDS = 5.0  # the time that the store has to answer
FORGET_SECONDS = 600.0  # after this time without a fault, the next fault counts as the first

log = structlog.get_logger()


class ServerProbe:
    """Keeps the trainer from taking jobs while the store or the disk fails: it would lose each of them.

    It tests both before the first job, because an outage may have ended the trainer that this one replaces.
    It tests them again after each fault, but only after a pause. The pause begins with `pause` seconds and
    doubles with each further fault, because a store that accepts the test may still refuse a job's files. A
    failed test counts as a fault, so that tests become rare: the jobs that train here wait for each test.
    """

    def __init__(self, store: ObjectStore, pause: float) -> None:
        """`store` must give up soon: the jobs that train here wait for its answer."""
        self._store = store
        self._first_pause = self._pause = pause
        self._trusted = False
        self._faulted_at: float | None = None

    def note_fault(self) -> None:
        """Take in that a job was lost through the store or the disk, or that a test of them failed."""
        now = time.monotonic()
        if self._faulted_at is not None:
            again = now - self._faulted_at < FORGET_SECONDS
            self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS) if again else self._first_pause
        self._faulted_at = now
        self._trusted = False

    def allow_a_job(self) -> bool:
        """Return whether a job may be taken now: the pause is over, and the tests succeed."""
        if self._trusted:
            return True
        if self._faulted_at is not None and time.monotonic() - self._faulted_at < self._pause:
            return False
        try:
            self._store.check_writing()
            _check_disk()
        except STORE_ERRORS as error:
            log.warning("store_unreachable", error=str(error))
            self.note_fault()
        except OSError as error:
            log.warning("disk_unusable", folder=tempfile.gettempdir(), error=str(error))
            self.note_fault()
        else:
            self._trusted = True
        return self._trusted


def _check_disk() -> None:
    """Write a temporary file. Raises OSError if the disk refuses it."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes(PROBE_BYTES))
