"""What the parts print, in HOME/logs: the run before is kept beside, and no file grows for ever."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 64 * 1024**2
LOOK_SECONDS = 60.0


class LogFiles:
    """The logs of parts that run."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._next_look = time.monotonic()

    def tend(self) -> None:
        """Put aside what has grown too large, looking every LOOK_SECONDS however often this is called.

        The part keeps its file open, to append, so that is emptied; a line that is printed meanwhile is lost.
        """
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + LOOK_SECONDS
        for log in self._folder.glob("*.log"):
            with suppress(FileNotFoundError):  # a server that starts again has just put it aside
                if log.stat().st_size > MAX_BYTES:
                    _empty(log)


def rotate(log: Path) -> None:
    """Put the log of the run before aside."""
    if log.exists():
        log.replace(_beside(log))


def _empty(log: Path) -> None:
    with suppress(OSError):  # a full disk takes the old lines, and not the service
        shutil.copyfile(log, _beside(log))
    os.truncate(log, 0)


def _beside(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")
