"""Runs the code of graders in CPython, each time in a new sandbox of bubblewrap.

The sandbox has namespaces of its own for users, processes, the network, mounts, IPC and the host's name. It
shows nothing but Python's own files, read-only, and an empty /tmp in memory. It has no environment and no
capability, and ends with its parent. Within it, `seccomp` bounds the system calls and `program` the memory,
the time and the files.
"""

import fcntl
import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from core.graders.python import program, seccomp
from core.graders.python.outcome import finite, shown, wrong_type
from core.graders.python.runtime import PythonFiles, python_files
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

PROGRAM = Path(program.__file__)
HOME = "/python"  # where the sandbox has Python
FILE_BYTES = 16 * MIB  # of all files in /tmp
NOBODY = "65534"
MOST_ANSWER = 16 * 1024  # bytes
START_SECONDS = 8.0  # for the sandbox itself, on a busy machine. The grader's own time begins later


def run(sandbox: Sandbox, source: str, given: str | None, seconds: float) -> float:
    """Return the score that a grader gives. Without anything `given`, only run what the source defines.

    Raises SourceRefused, GraderFailed and SandboxFailed.
    """
    request = {
        "source": source,
        "given": given,
        "seconds": seconds,
        "memory": sandbox.memory,
        "file_bytes": FILE_BYTES,
    }
    with _started(request) as running:
        answer = running.answer(seconds)
        if answer is None:
            raise out_of_time(seconds)
        return _score(sandbox, answer, running.told())


def _score(sandbox: Sandbox, answer: bytes, told: str) -> float:
    """Return the score of an answer, which may be anything. `told` is what the sandbox says of itself."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        found = None
    match found:
        case {"score": float() | int() as score}:
            return finite(score)
        case {"memory": True}:
            raise out_of_memory(sandbox)
        case {"source": str() as wrong}:
            raise SourceRefused(shown(wrong))
        case {"failed": str() as wrong}:
            raise GraderFailed(shown(wrong))
        case {"type": str() as kind}:
            raise wrong_type(kind)
    if not answer:
        log.error("python_grader_sandbox_failed", told=told)
        raise SandboxFailed("sandbox_not_started")
    raise GraderFailed("it ended without a score")


@dataclass
class _Running:
    """A sandbox, and the file from which its answer is read."""

    process: subprocess.Popen[bytes]
    answers: int

    def answer(self, seconds: float) -> bytes | None:
        """Return what the sandbox writes, cut off at MOST_ANSWER. It is None if it takes too long.

        The client's code has begun when the first byte comes. It is empty if that never happens.
        """
        read = b""
        deadline = time.monotonic() + START_SECONDS
        waiting = select.poll()
        waiting.register(self.answers, select.POLLIN)
        while len(read) < MOST_ANSWER:
            if not waiting.poll(1000 * max(0.0, deadline - time.monotonic())):
                return None if read else b""
            part = os.read(self.answers, MOST_ANSWER)
            if not part:
                break
            if not read:
                deadline = time.monotonic() + seconds
            read += part
        return read

    def told(self) -> str:
        """Return what bubblewrap has said before the client's code began."""
        assert self.process.stderr is not None
        os.set_blocking(self.process.stderr.fileno(), False)
        return (self.process.stderr.read(MOST_ANSWER) or b"").decode(errors="replace")


@contextmanager
def _started(request: dict[str, Any]) -> Iterator[_Running]:
    """Yield a new sandbox. Kill it at the end."""
    bubblewrap = shutil.which("bwrap", path=os.defpath)
    if bubblewrap is None:
        log.error("python_grader_sandbox_failed", told="there is no program bwrap in /bin or /usr/bin")
        raise SandboxFailed("sandbox_not_installed")
    given = _sealed(json.dumps(request).encode())
    rules = _sealed(seccomp.program())
    nowhere = os.open(os.devnull, os.O_RDWR)
    answers, answer = os.pipe()
    files = (given, rules, nowhere, answer)
    command = [bubblewrap, *_options(python_files(), rules), *_python(), str(answer), str(nowhere)]
    try:
        process = subprocess.Popen(
            command,
            stdin=given,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(rules, answer, nowhere),
            env={},
        )
    except OSError:
        os.close(answers)
        raise
    finally:
        for each in files:
            os.close(each)
    try:
        yield _Running(process, answers)
    finally:
        os.close(answers)
        process.kill()  # and with it, all that is in the sandbox
        process.communicate()


def _sealed(content: bytes) -> int:
    """Return a file in memory that nobody can change, from its beginning."""
    file = os.memfd_create("grader", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    with open(file, "wb", closefd=False) as written:
        written.write(content)
    os.lseek(file, 0, os.SEEK_SET)
    fcntl.fcntl(
        file,
        fcntl.F_ADD_SEALS,
        fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE,
    )
    return file


def _options(files: PythonFiles, rules: int) -> list[str]:
    """Return bubblewrap's options. `rules` is the file with the filter of system calls."""
    library = f"{HOME}/{sys.platlibdir}/python{sys.version_info.major}.{sys.version_info.minor}"
    shown_files = {
        files.executable: f"{HOME}/bin/python",
        files.standard_library: library,
        PROGRAM: f"{HOME}/grader.py",
        files.loader: str(files.loader),
        **{path: f"{HOME}/shared/{name}" for name, path in files.libraries.items()},
    }
    options = [
        "--unshare-all",
        "--new-session",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
        "--hostname",
        "grader",
    ]
    options += ["--uid", NOBODY, "--gid", NOBODY, "--clearenv"]
    # Python cannot be told these two by an option. `program` removes them before a grader's code begins.
    options += ["--setenv", "LD_LIBRARY_PATH", f"{HOME}/shared", "--setenv", "PYTHONHASHSEED", "0"]
    for outside, inside in shown_files.items():
        options += ["--ro-bind", str(outside), inside]
    for hidden in files.hidden:
        options += ["--tmpfs", f"{library}/{hidden}", "--remount-ro", f"{library}/{hidden}"]
    options += ["--size", str(FILE_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp", "--remount-ro", "/"]  # noqa: S108
    return [*options, "--seccomp", str(rules), "--"]


def _python() -> list[str]:
    return [f"{HOME}/bin/python", "-P", "-s", "-S", "-B", "-X", "utf8", f"{HOME}/grader.py"]
