"""Runs Python graders in the sandbox that is set, and checks their sources."""

import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import structlog

from core.graders.python import bubblewrap, checking
from core.graders.python.outcome import shown
from core.graders.python.sandbox import GraderFailed, Sandbox, SandboxFailed, SourceRefused

log = structlog.get_logger()

DEFINING_SECONDS = 2.0  # at most, for what a source does before its grader is called
CHECK_SECONDS = (
    10.0  # for a process that checks a source, on a busy machine. A request's transaction may wait for it
)
REMEMBERED = 16  # sources that were checked
ROOT = Path(__file__).parents[3]  # from where a process imports `core`
NESTED = "it is nested too deeply, or too large"


def score(sandbox: Sandbox, source: str, given: str, seconds: float) -> float:
    """Return the score that a grader gives, within so many seconds. Raises GraderFailed and SandboxFailed."""
    try:
        if sandbox.runner == "bubblewrap":
            return bubblewrap.run(sandbox, source, given, seconds)
        from core.graders.python import monty  # it takes a tenth of a second and some megabytes

        return monty.score(sandbox, source, given, seconds)
    except SourceRefused as refused:
        raise GraderFailed(str(refused)) from refused


@lru_cache(REMEMBERED)
def wrong_with(sandbox: Sandbox, source: str) -> str | None:
    """Return what is wrong with the source of a grader, with its line, or None. Raises SandboxFailed.

    The source is run in the sandbox, without the grader that it defines.
    """
    if sandbox.runner != "bubblewrap":
        return _checked_apart(sandbox, source)
    try:
        bubblewrap.run(sandbox, source, None, min(DEFINING_SECONDS, sandbox.seconds))
    except (SourceRefused, GraderFailed) as error:
        return str(error)
    return None


def _checked_apart(sandbox: Sandbox, source: str) -> str | None:
    """Check a source for Monty in a process of its own, which may die of it."""
    seconds = min(DEFINING_SECONDS, sandbox.seconds)
    command = [sys.executable, "-m", checking.__name__, str(seconds), str(sandbox.memory)]
    given = source.encode(errors="replace")
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            env={"PYTHONPATH": str(ROOT)},
            cwd="/",
            timeout=CHECK_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return NESTED
    if done.returncode < 0:
        return NESTED  # the parser has overflowed the stack, or the process has taken too much time
    if done.returncode > 0:
        log.error("python_grader_sandbox_failed", told=done.stderr.decode(errors="replace")[-2000:])
        raise SandboxFailed("sandbox_failed")
    return shown(done.stdout.decode(errors="replace")) or None
