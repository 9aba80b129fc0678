"""Tells whether the system has ended processes because memory ran out."""

from contextlib import suppress
from pathlib import Path

COUNTERS = Path("/proc/vmstat")  # of the whole machine, also within a container


def processes_ended_for_memory() -> int:
    """Return how many processes the system has ended since it started; 0 if it does not count them."""
    with suppress(OSError):
        for line in COUNTERS.read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == "oom_kill":
                return int(value)
    return 0
