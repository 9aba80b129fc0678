"""Decides when a dead part is started again: after a growing delay, until it has died too often."""

import os
import signal
import time
from pathlib import Path

from cli.client.errors import GaveUp
from cli.client.output import note

# Deaths in a row, each within QUICK_SECONDS of its start, after which `up` gives up.
MAX_QUICK_DEATHS = 5
QUICK_SECONDS = 60.0
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0

TAIL_LINES = 15


class Restarts:
    """The restarts of one part. Its output goes to `log`."""

    def __init__(self, name: str, log: Path) -> None:
        self._name, self._log = name, log
        self._started = 0.0
        self._quick_deaths = 0
        self._next_start = 0.0

    @property
    def due(self) -> bool:
        return time.monotonic() >= self._next_start

    def started(self) -> None:
        self._started = time.monotonic()

    def plan(self, cause: str, *, stillborn: bool = False, hopeless: bool = False) -> None:
        """Print that the part died and when it starts again. Raises GaveUp if it is not started again.

        `stillborn` means that the part never ran, even if the attempt to start it took long. `hopeless` means
        that another start would fail in the same way.
        """
        quick = stillborn or time.monotonic() - self._started < QUICK_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 1
        if hopeless or self._quick_deaths > MAX_QUICK_DEATHS:
            times = f", {self._quick_deaths} times in a row" if self._quick_deaths > 1 else ""
            raise GaveUp(
                f"The {self._name} died ({cause}{times}). Its log {self._log} ends:\n{tail(self._log)}"
            )
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (self._quick_deaths - 1))
        self._next_start = time.monotonic() + delay
        note(
            f"The {self._name} died ({cause}); starting it again in {delay:g} s. Its log: {self._log}",
            "yellow",
        )


def name_exit(code: int) -> str:
    """Return the exit status of a process, as in `Popen.returncode`, in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def tail(path: Path) -> str:
    """Return the last lines of a log."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 64 * 1024))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:])
