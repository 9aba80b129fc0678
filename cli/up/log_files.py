"""The logs of the parts, in HOME/logs. The log of the run before is kept, and no file grows without limit."""

import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

MAX_BYTES = 64 * 1024**2
LOOK_SECONDS = 60.0


class LogFiles:
    """The logs of the running parts."""

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES, look_seconds: float = LOOK_SECONDS) -> None:
        self._folder, self._max_bytes, self._look_seconds = folder, max_bytes, look_seconds
        self._next_look = time.monotonic()

    def tend(self) -> None:
        """Copy a log that has grown too large to NAME.log.1, and empty it.

        It looks at the sizes at most once in `look_seconds`, however often it is called. The part keeps its
        file open for appending, so the file is emptied, not replaced. A line that is printed between the copy
        and the emptying is lost.
        """
        if time.monotonic() < self._next_look:
            return
        self._next_look = time.monotonic() + self._look_seconds
        for log in self._folder.glob("*.log"):
            with suppress(FileNotFoundError):  # a server that starts again has just renamed it
                if log.stat().st_size > self._max_bytes:
                    _empty(log)


def rotate(log: Path) -> None:
    """Rename the log of the previous run to NAME.log.1."""
    if log.exists():
        log.replace(_beside(log))


def _empty(log: Path) -> None:
    with suppress(OSError):  # on a full disk the old lines are lost, but the service goes on
        shutil.copyfile(log, _beside(log))
    os.truncate(log, 0)


def _beside(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")
