"""Decides whether the store and the disk work well enough for a trainer to take another job."""

import tempfile
import time

import structlog

from core.storage.object_store import PROBE_BYTES, STORE_ERRORS, ObjectStore

MAX_PAUSE_SECONDS = 60.0  # well below the time after which a supervisor takes an idle trainer for stuck
PROBE_SECONDS = 5.0  # for the store to answer
FORGET_SECONDS = 600.0  # without a fault, until the next one is a first one again

log = structlog.get_logger()


class ServerProbe:
    """Lets no job be taken into an outage, which would otherwise fail job after job.

    They are tried before the first job, since this trainer may stand in for one that an outage has ended, and
    after each fault, with a pause that grows from `pause` seconds: a store that takes the probe may still
    refuse the job. A trial that fails is a fault too: jobs that train here wait for it.
    """

    def __init__(self, store: ObjectStore, pause: float) -> None:
        """`store` is one that does not try for long."""
        self._store = store
        self._first_pause = self._pause = pause
        self._trusted = False
        self._faulted_at: float | None = None

    def note_fault(self) -> None:
        """A job was lost through them, or their trial failed."""
        now = time.monotonic()
        if self._faulted_at is not None:
            again = now - self._faulted_at < FORGET_SECONDS
            self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS) if again else self._first_pause
        self._faulted_at = now
        self._trusted = False

    def allow_a_job(self) -> bool:
        """Whether one may be taken now: they work, as far as a trial can tell, and the pause is over."""
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
    """Raises OSError where no temporary file can be written."""
    with tempfile.TemporaryFile() as file:
        file.write(bytes(PROBE_BYTES))
