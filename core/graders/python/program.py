"""Runs the code of one grader once, as the only program in a sandbox of bubblewrap.

The sandbox shows this file to its Python. It reads a request as JSON from its standard input. Into the file
whose number is its first argument it writes a new line when the client's code begins, and then what came of
it as JSON. It uses nothing but the standard library, and trusts nothing once the client's code has begun:
whoever reads the answer checks it.
"""

from __future__ import annotations

import builtins
import json
import os
import resource
import sys

TYPE_CHECKING = False  # `typing` would take milliseconds of each sandbox
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any

GRADER = "<grader>"
HAS_MORE_POSITIONAL, IS_ASYNC = 0x04, 0x80 | 0x200  # flags of a code object (the module `inspect`)
NONE_OF = (resource.RLIMIT_CORE, resource.RLIMIT_NPROC, resource.RLIMIT_MEMLOCK, resource.RLIMIT_MSGQUEUE)
OPEN_FILES = 32


def main() -> None:
    """Run the grader of the request, and write what came of it."""
    answer, nowhere = int(sys.argv[1]), int(sys.argv[2])
    request = json.loads(sys.stdin.buffer.read())
    limit(request)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.environ.clear()
    if "random" in request["source"]:  # its import takes two milliseconds
        import random

        random.seed(0)
    os.write(answer, b"\n")
    os.write(answer, json.dumps(outcome(request["source"], request["given"])).encode())
    os._exit(0)  # so that nothing runs that the client's code has left to be done at the end


def limit(request: dict[str, Any]) -> None:
    """Bound what the process may use. It has no capability with which it could raise a limit again."""
    bounds = {
        **dict.fromkeys(NONE_OF, 0),
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_AS: request["memory"],
        resource.RLIMIT_CPU: int(request["seconds"]) + 2,  # the start takes some, and the clock shall decide
        resource.RLIMIT_FSIZE: request["file_bytes"],
    }
    for kind, most in bounds.items():
        resource.setrlimit(kind, (most, most))


def outcome(source: str, given: str | None) -> dict[str, Any]:
    """Return the score, or an error. Without `given`, only run what the source defines."""
    stage = "source"
    try:
        module = {"__name__": "grader", "__builtins__": builtins}
        exec(compile(source, GRADER, "exec", dont_inherit=True), module)  # noqa: S102
        wrong = wrong_with(module.get("grade"))
        if wrong or given is None:
            return {stage: wrong} if wrong else {"score": 0.0}
        stage = "failed"
        sample, item = json.loads(given)
        try:
            sample["output_json"] = json.loads(sample["output_text"])
        except (ValueError, RecursionError):
            sample["output_json"] = None
        return judged(module["grade"](sample, item))  # type: ignore[operator]
    except MemoryError:
        return {"memory": True}
    except BaseException as error:
        return {stage: told(error)}


def wrong_with(grade: Any) -> str | None:
    """Return what is wrong with the grader's function, or None."""
    code = getattr(grade, "__code__", None)
    if code is None:
        return "it defines no function 'grade(sample, item)' at its top level"
    line = f"line {code.co_firstlineno}"
    if code.co_flags & IS_ASYNC:
        return f"{line}: 'grade' must be an ordinary function, defined by 'def'"
    enough = code.co_argcount >= 2 or code.co_flags & HAS_MORE_POSITIONAL
    least = code.co_argcount - len(grade.__defaults__ or ())
    if not enough or least > 2 or code.co_kwonlyargcount > len(grade.__kwdefaults__ or {}):
        return f"{line}: 'grade' must take two arguments, the sample and the item"
    return None


def judged(value: object) -> dict[str, Any]:
    """Return the value as a score, if its type is that of a number."""
    if type(value) not in (int, float):
        return {"type": type(value).__name__[:100]}
    try:
        score = float(value)  # type: ignore[arg-type]
    except OverflowError:
        return {"failed": "it returned an integer that is too large"}
    return (
        {"score": score}
        if score - score == 0
        else {"failed": f"it returned {score}, which is not a finite number"}
    )


def told(error: BaseException) -> str:
    """Return the error as a client reads it: with the line of the client's source, and without any path."""
    if isinstance(error, SyntaxError) and error.filename == GRADER:
        return f"line {error.lineno}: {type(error).__name__}: {error.msg}"
    line = line_of(error.__traceback__)
    try:
        text = str(error)[:1000]
    except BaseException:  # the exception's class is the client's
        text = ""
    named = type(error).__name__[:100] + (f": {text}" if text else "")
    return f"line {line}: {named}" if line else named


def line_of(trace: TracebackType | None) -> int | None:
    """Return the innermost line of the client's source in a traceback. `traceback` would import much more."""
    line = None
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == GRADER:
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


if __name__ == "__main__":
    main()
