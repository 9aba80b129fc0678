"""Limits what one row may cost the process that renders it.

The authors of a base model wrote its chat template and its tokenizer. A template may loop for ever or build
an endless text, and a tokenizer's pattern may take longer than anybody lives.
"""

import resource
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from core.errors import JobError

# Python gets no signal while native code runs. Then the system ends the process, a little later.
NATIVE_SECONDS = 5

Line = tuple[int, dict[str, Any]]


def limited(lines: Iterable[Line], param: str, seconds: int, more_bytes: int) -> Iterator[Line]:
    """Yield the lines. Whoever takes them may compute for `seconds` before it takes the next one.

    Otherwise a JobError is raised there, or the process ends. From now on, this process may have `more_bytes`
    in addition to what it has; beyond that, a MemoryError is raised there, or the process ends.
    """
    at = 0

    def refuse(_signal: int, _frame: FrameType | None) -> None:
        raise JobError(
            "rows_not_rendered",
            f"Line {at}: the base model's chat template and tokenizer take more than {seconds} s for it. "
            "Shorten the row, or ask the operator to look at the base model.",
            param,
        )

    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_DATA, _data_bytes() + more_bytes)
    signal.signal(signal.SIGPROF, refuse)
    for at, row in lines:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        _limit(resource.RLIMIT_CPU, _computed() + seconds + NATIVE_SECONDS)
        yield at, row
    signal.setitimer(signal.ITIMER_PROF, 0)
    _limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)


def _limit(kind: int, value: int) -> None:
    """Set the limit of this process, as far as it may be set."""
    _, most = resource.getrlimit(kind)
    if most != resource.RLIM_INFINITY:
        value = most if value == resource.RLIM_INFINITY else min(value, most)
    resource.setrlimit(kind, (value, most))


def _computed() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return int(usage.ru_utime + usage.ru_stime) + 1


def _data_bytes() -> int:
    """Return the bytes of this process that RLIMIT_DATA counts."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmData:")[2].split()[0])
