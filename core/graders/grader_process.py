"""Runs in a process for graders. The first call limits the process, and every call grades a sample."""

import os
import resource
import signal
from collections.abc import Mapping
from functools import cache
from typing import Any

import psutil

from core.errors import InvalidRequest
from core.graders.grade import Grade, grade

MEMORY = 512 * 1024**2  # bytes that may be added to those that the process has before its first sample


def grade_apart(grader: Any, item: Any, sample: str, known: Mapping[str, float]) -> Grade:
    """Return the grade of one sample.

    Raises InvalidRequest as `grade` does, and also if the sample takes too much memory.
    """
    limit_process()
    try:
        return grade(grader, item, sample, known)
    except MemoryError:
        raise InvalidRequest(
            "The grader needs too much memory. Use fewer graders, or shorten the sample or the item.",
            code="grader_out_of_memory",
            param="grader",
        ) from None


@cache
def limit_process() -> None:
    """Bound the process's memory, drop the caller's secrets from its environment, and ignore Ctrl-C.

    The libraries are imported first: their memory is not the samples', and they read the environment.
    """
    import rapidfuzz.distance  # noqa: F401
    import sacrebleu  # noqa: F401

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()
    most = psutil.Process().memory_info().vms + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
