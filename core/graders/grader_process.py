"""Runs in a process for graders: limits the process, and grades a sample."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from core.errors import InvalidRequest
from core.graders.grade import Grade, grade
from core.graders.python.sandbox import Sandbox
from core.graders.sample import Sample
from core.process.apart import address_space, drop_secrets, limit_address_space

MEMORY = 512 * 1024**2  # bytes that may be added to those that the process has before its first sample


def grade_apart(
    grader: Any, item: Any, sample: Sample, known: Mapping[str, float], sandbox: Sandbox
) -> Grade:
    """Return the grade of one sample.

    Raises InvalidRequest as `grade` does, and also if the sample takes too much memory.
    """
    limit_address_space(prepared(sandbox) + MEMORY)
    try:
        return grade(grader, item, sample, known, sandbox)
    except MemoryError:
        raise InvalidRequest(
            "The grader needs too much memory. Use fewer graders, or shorten the sample or the item.",
            code="grader_out_of_memory",
            param="grader",
        ) from None


@cache
def prepared(sandbox: Sandbox) -> int:
    """Drop the caller's secrets from the environment, ignore Ctrl-C, and return the process's address space.

    The libraries are imported first: their memory is not the samples', and they read the environment. The
    limit is a soft one, because sandboxes have limits of their own.
    """
    import rapidfuzz.distance  # noqa: F401
    import sacrebleu  # noqa: F401

    if sandbox.runner == "monty":
        from core.graders.python import monty

        monty.start()
    drop_secrets()
    return address_space()
