"""Tests the disk and the object store before a trainer takes another job."""

import errno
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core import artifacts
from core.artifacts import LONGEST_REQUEST, Owner
from core.errors import OutsideFault
from core.ids import new_id
from core.storage.folders import publish_folder
from core.storage.object_store import CHUNK_BYTES, PART_BYTES, PROBE_PREFIX, STORE_ERRORS, ObjectStore
from worker.process.scratch import scratch_folder

LEAST_BYTES = PART_BYTES + 1  # the smallest file that goes to the store in several parts
MAX_PAUSE_SECONDS = 60.0  # well below the time after which a supervisor kills an idle trainer as stuck
FORGET_SECONDS = 600.0  # after this time without a fault, the next fault counts as the first

log = structlog.get_logger()


class ServerProbe:
    """Keeps the trainer from taking jobs while the store or the disk fails: none of them could be saved.

    It tests both before the first job, because an outage may have ended the trainer that this one replaces.
    It tests them again after each fault, but only after a pause. The pause begins with `pause` seconds and
    doubles with each further fault. A failed test counts as a fault.

    A test saves a file as a checkpoint is saved. The file is as large as the largest thing that a job could
    not save since the last test that succeeded, and goes to the places of the last one, because a store or a
    disk that takes a small file may refuse a large one. The test runs in a thread of its own, so no job waits
    for it.
    """

    def __init__(
        self,
        store: ObjectStore,
        pause: float,
        tested: Callable[[], object] = lambda: None,
        open_artifacts: Callable[[Sequence[str]], object] = lambda _prefixes: None,
    ) -> None:
        """Other threads call `open_artifacts` with the prefixes of a test, and `tested` when it has ended."""
        self._store = store
        self._tested = tested
        self._open_artifacts = open_artifacts
        self._first_pause = self._pause = pause
        self._trusted = False
        self._test: Future[None] | None = None
        self._bytes = LEAST_BYTES
        self._prefixes: Sequence[str] = [PROBE_PREFIX]
        self._name = new_id("probe-")  # one name, so that its tests that break off leave one file behind
        self._faulted_at: float | None = None

    def note_fault(self, bytes_to_save: int = 0, prefixes: Sequence[str] = ()) -> None:
        """Take in that a job had to go back. It may have failed to save so many bytes under the prefixes.

        Without arguments, take in that a test failed.
        """
        now = time.monotonic()
        if self._faulted_at is not None:
            again = now - self._faulted_at < FORGET_SECONDS
            self._pause = min(2 * self._pause, MAX_PAUSE_SECONDS) if again else self._first_pause
        self._faulted_at = now
        self._bytes, self._prefixes = max(self._bytes, bytes_to_save), prefixes or self._prefixes
        self._trusted = False
        self._test = None  # a test that is running tells nothing about this fault

    def allow_a_job(self) -> bool:
        """Return whether a job may be taken now: the pause is over, and a test has succeeded."""
        if self._trusted:
            return True
        if self._test is None:
            if self._faulted_at is None or time.monotonic() - self._faulted_at >= self._pause:
                self._test = self._start_test(self._bytes, [f"{at}{self._name}/" for at in self._prefixes])
        elif self._test.done():
            self._take_in(self._test)
        return self._trusted

    def _start_test(self, size: int, prefixes: Sequence[str]) -> Future[None]:
        outcome: Future[None] = Future()
        outcome.add_done_callback(lambda _: self._tested())

        def test() -> None:
            try:
                self._open_artifacts(prefixes)
                save_and_remove(self._store, size, prefixes)
            except BaseException as error:
                outcome.set_exception(error)
            else:
                outcome.set_result(None)

        threading.Thread(target=test, name="server_probe", daemon=True).start()
        return outcome

    def _take_in(self, test: Future[None]) -> None:
        try:
            test.result()
        except (OutsideFault, SQLAlchemyError, *STORE_ERRORS) as error:
            log.warning("store_unreachable", bytes=self._bytes, error=str(error))
            self.note_fault()
        except OSError as error:
            folder = tempfile.gettempdir()
            log.warning("disk_unusable", bytes=self._bytes, folder=folder, error=str(error))
            self.note_fault()
        else:
            self._trusted = True
            self._bytes, self._prefixes = LEAST_BYTES, [PROBE_PREFIX]


def open_artifacts_of_a_test(sessions: sessionmaker[Session], owner: str, prefixes: Sequence[str]) -> None:
    """Have the janitor remove what a test of this `owner` leaves under `prefixes` if its process dies."""
    with sessions.begin() as session:
        for prefix in prefixes:
            of = Owner("probe", owner)
            artifacts.open(session, of, prefix, None, counted=False, lasts=LONGEST_REQUEST)


def save_and_remove(store: ObjectStore, size: int, prefixes: Sequence[str]) -> None:
    """Write a file of `size` bytes to the disk, upload it to each prefix, read it back, and remove it.

    Raises OSError if the disk refuses the file. Raises OutsideFault or one of STORE_ERRORS if the store does.
    """
    if shutil.disk_usage(tempfile.gettempdir()).free < size:  # to fill the disk would harm those who train
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with scratch_folder("probe") as folder:
        with (folder / "zeros").open("wb") as file:
            for begin in range(0, size, CHUNK_BYTES):
                file.write(bytes(min(CHUNK_BYTES, size - begin)))
        for prefix in prefixes:
            publish_folder(store, folder, prefix)
            store.empty(prefix)
