"""Limits what one row may cost the process that renders or prepares it.

The authors of a base model wrote its chat template and its tokenizer. A template may loop for ever or build
an endless text, and a tokenizer's pattern may take longer than anybody lives. Also a client's labels are a
pattern.
"""

import signal
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

from core.errors import JobError
from worker.process.limits import limit_memory, limit_time, unlimit_time

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
    unlimit_time()


def refusal_of_row(code: str, line: int, reason: str, param: str | None) -> JobError:
    """Return the error of a row, with its line if a `param` names its file.

    Without one, somebody looks at the row, and knows which it is.
    """
    message = f"Line {line}: {reason}" if param else reason[:1].upper() + reason[1:]
    return JobError(code, message, param)
