"""Runs the code of graders in Monty, an interpreter of a subset of Python that knows no files and no network.

Each run has a new process of Monty, so nothing of a sample is left for the next one. The process has no
environment. Monty bounds the time, the memory and the depth of calls. The limits of the system bound the
process, should Monty fail to.
"""

import resource
import sysconfig
from functools import cache
from pathlib import Path
from typing import Any

import structlog
from pydantic_monty import (
    Monty,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySession,
    MontySyntaxError,
    ResourceLimits,
)

from core.graders.python.outcome import finite, shown, wrong_type
from core.graders.python.sandbox import (
    MIB,
    GraderFailed,
    Sandbox,
    SandboxFailed,
    SourceRefused,
    out_of_memory,
    out_of_time,
)

log = structlog.get_logger()

DEPTH = 500  # of calls
GRACE_SECONDS = 1.0  # after which a process that has overstayed its time is killed
OWN_MEMORY = 256 * MIB  # of address space, for Monty's program
MOST = "1e308"  # of an integer that a float can hold
SOURCE_NAME = "<python-input-1>"  # how Monty names what is fed second

PRELUDE = f"""
import json as __json

def __graded(grade, given, load=__json.loads, kind=type, kinds=(int, float)):
    sample, item = load(given)
    try:
        sample["output_json"] = load(sample["output_text"])
    except Exception:
        sample["output_json"] = None
    score = grade(sample, item)
    if kind(score) not in kinds:
        return [str(kind(score))[:100]]
    return score if kind(score) is float or -{MOST} < score < {MOST} else "large"
"""
CALL = "\n\n__graded(grade, __given)\n"


def score(sandbox: Sandbox, source: str, given: str, seconds: float) -> float:
    """Return the score that a grader gives. Raises SourceRefused, GraderFailed and SandboxFailed."""
    match _run(sandbox, source + CALL, given, seconds):
        case [str() as kind]:
            raise wrong_type(kind.removeprefix("<class '").removesuffix("'>"))
        case "large":
            raise GraderFailed("it returned an integer that is too large")
        case value:
            return finite(value)


def define(sandbox: Sandbox, source: str, seconds: float) -> None:
    """Run what a source defines, without the grader itself. Raises what `score` raises."""
    _run(sandbox, f"{source}\n\nNone\n", "", seconds)


def start() -> None:
    """Load Monty's client into this process, with its threads, before anything limits the process."""
    try:
        with pool().checkout():
            pass
    except (SandboxFailed, MontyError, OSError):
        log.exception("python_grader_sandbox_failed")


@cache
def pool() -> Monty:
    """Return this process's processes of Monty. The first call starts one. Raises SandboxFailed."""
    program = Path(sysconfig.get_path("scripts")) / "monty"  # no other one, whatever the environment says
    if not program.is_file():
        log.error("python_grader_sandbox_failed", told=f"there is no program {program}")
        raise SandboxFailed("sandbox_not_installed")
    made = Monty(
        binary_path=program,
        max_processes=1,
        max_checkouts_per_worker=1,
        feed_duration_limit_grace=GRACE_SECONDS,
    )
    made.__enter__()  # until this process ends
    return made


def _run(sandbox: Sandbox, source: str, given: str, seconds: float) -> Any:
    limits: ResourceLimits = {
        "max_feed_duration_secs": seconds,
        "max_memory": sandbox.memory,
        "max_recursion_depth": DEPTH,
    }
    try:
        with pool().checkout(
            limits=limits,
            os_policy={"sleep": "zero", "random_start": {"seed": 0}},
            assert_message_annotations=False,
        ) as session:
            _limit(session, sandbox, seconds)
            session.feed_run(PRELUDE, inputs={"__given": given}, print_callback=_drop)
            return session.feed_run(source, print_callback=_drop)
    except MontySyntaxError as error:
        raise SourceRefused(_told(error)) from error
    except MontyRuntimeError as error:
        raise _failure(error, sandbox, seconds) from error
    except MontyCrashedError as error:
        if error.timed_out:
            raise out_of_time(seconds) from error
        log.error("python_grader_sandbox_failed", told=str(error))
        raise SandboxFailed("sandbox_crashed") from error
    except (MontyError, OSError) as error:
        log.error("python_grader_sandbox_failed", told=str(error))
        raise SandboxFailed("sandbox_failed") from error


def _limit(session: MontySession, sandbox: Sandbox, seconds: float) -> None:
    """Bound the process, so that it ends by itself even if this process does not end it."""
    worker = session.worker_pid
    if worker is None:
        return
    cpu = int(seconds + GRACE_SECONDS) + 1
    for kind, most in (
        (resource.RLIMIT_AS, sandbox.memory + OWN_MEMORY),
        (resource.RLIMIT_CPU, cpu),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.prlimit(worker, kind, (most, most))


def _failure(error: MontyRuntimeError, sandbox: Sandbox, seconds: float) -> Exception:
    """Return what an exception in the client's code stands for."""
    frames = error.traceback()
    match error.exception():
        case MemoryError():
            return out_of_memory(sandbox)
        case TimeoutError() if not frames:
            return out_of_time(seconds)
        case NotImplementedError() if frames and frames[-1].function_name is None:
            return SourceRefused(_told(error))  # Monty's parser does not know what is written there
    return GraderFailed(_told(error))


def _told(error: MontyRuntimeError | MontySyntaxError) -> str:
    """Return the error as a client reads it: with the line of the client's source."""
    lines = [frame.line for frame in error.traceback() if frame.filename == SOURCE_NAME]
    told = error.display("type-msg")
    return shown(f"line {lines[-1]}: {told}" if lines else told)


def _drop(stream: str, text: str) -> None:
    """Keep nothing of what a grader prints."""
