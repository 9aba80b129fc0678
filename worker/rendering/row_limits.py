"""Limits what one row may cost the process that renders or prepares it.

The authors of a base model wrote its chat template and its tokenizer. A template may loop for ever or build
an endless text, and a tokenizer's pattern may take longer than anybody lives. Also a client's labels are a
pattern.
"""

import resource
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

from core.errors import JobError

# Python gets no signal while native code runs. Then the system ends the process, a little later.
NATIVE_SECONDS = 5

Line = tuple[int, dict[str, Any]]
Content = TypeVar("Content")


def limited(
    lines: Iterable[tuple[int, Content]], param: str | None, seconds: int, more_bytes: int
) -> Iterator[tuple[int, Content]]:
    """Yield the lines to render. Whoever takes them has `seconds` for each, as `timed` says.

    From now on, this process may have `more_bytes` in addition to what it has; beyond that, a MemoryError is
    raised there, or the process ends.
    """
    limit_memory(more_bytes)
    reason = f"the base model's chat template and tokenizer take more than {seconds} s for the row"
    mend = "Shorten it, or ask the operator to look at the base model."
    yield from timed(lines, seconds, JobError("rows_not_rendered", f"{reason}. {mend}", param))


def timed(
    lines: Iterable[tuple[int, Content]], seconds: int, refusal: JobError
) -> Iterator[tuple[int, Content]]:
    """Yield the lines. Whoever takes them may compute for `seconds` before it takes the next one.

    Otherwise the refusal is raised there, with the place of the row before it, or the process ends.
    """
    at = 0

    def refuse(_signal: int, _frame: FrameType | None) -> None:
        raise refusal_of_row(refusal.code, at, str(refusal), refusal.param)

    signal.signal(signal.SIGPROF, refuse)
    for at, content in lines:
        signal.setitimer(signal.ITIMER_PROF, seconds)
        limit_time(seconds + NATIVE_SECONDS)
        yield at, content
    signal.setitimer(signal.ITIMER_PROF, 0)
    _limit(resource.RLIMIT_CPU, resource.RLIM_INFINITY)


def refusal_of_row(code: str, line: int, reason: str, param: str | None) -> JobError:
    """Return the error of a row, with its line if a `param` names its file.

    Without one, somebody looks at the row, and knows which it is.
    """
    message = f"Line {line}: {reason}" if param else reason[:1].upper() + reason[1:]
    return JobError(code, message, param)


def limit_time(more_seconds: int) -> None:
    """Let the system end this process once it has computed for so many seconds more.

    The system then writes no core file: it would hold the texts of clients.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_CPU, _computed() + more_seconds)


def limit_memory(more_bytes: int) -> None:
    """Let this process have at most `more_bytes` in addition to what it has. Then MemoryError is raised."""
    _limit(resource.RLIMIT_DATA, _data_bytes() + more_bytes)


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
