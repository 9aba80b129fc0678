"""Temporary folders. Those of a killed process are removed when a trainer or a server next starts to compute.

Each folder is locked by the process that uses it. The kernel releases the lock when the process dies, so a
folder without a lock belongs to nobody.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, get_args

Kind = Literal["adapter", "import", "job", "metrics", "probe", "task", "tensorboard"]
MEMORY = Path("/dev/shm")  # noqa: S108
YOUNG_SECONDS = 60.0  # a folder may be unlocked for a moment between its making and its lock


@contextmanager
def scratch_folder(kind: Kind) -> Iterator[Path]:
    """Make a temporary folder, and remove it after the block. Raises OSError if the disk fails."""
    making = tempfile.TemporaryDirectory(
        prefix=f"tunery-{kind}-", dir=_parent(kind), ignore_cleanup_errors=True
    )
    with making as folder, _locked(folder):
        yield Path(folder)


def remove_abandoned(young: float = YOUNG_SECONDS) -> None:
    """Remove the folders of processes that were killed, but none that changed in the last `young` seconds."""
    for kind in get_args(Kind):
        for folder in _parent(kind).glob(f"tunery-{kind}-*"):
            try:
                if time.time() - folder.stat().st_mtime >= young:
                    with _locked(str(folder)):
                        shutil.rmtree(folder, ignore_errors=True)
            except OSError:  # it is in use, belongs to another user, or is gone
                continue


def _parent(kind: Kind) -> Path:
    # Metrics are files with holes, which the library maps. If a full disk has no block for a hole, the kernel
    # sends SIGBUS to whoever writes there, so each trainer would die as soon as it counts
    if kind == "metrics" and os.access(MEMORY, os.W_OK | os.X_OK):
        return MEMORY
    return Path(tempfile.gettempdir())


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Hold the folder's lock. Raises BlockingIOError if another process has it."""
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)
