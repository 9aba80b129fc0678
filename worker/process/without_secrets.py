"""Runs a program that must not see the secrets of the service, since nobody has checked what it reads."""

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

# The variables that a program needs. Our own environment also holds the keys of the service
PASSED = re.compile(r"PATH|HOME|TMPDIR|LD_LIBRARY_PATH|LANG|LC_\w+")


def without_secrets(*names: str) -> dict[str, str]:
    """Return the part of our own environment that a program needs, with the variables `names` as well."""
    return {name: value for name, value in os.environ.items() if PASSED.fullmatch(name) or name in names}


def run_without_secrets(
    command: Sequence[str],
    environment: Mapping[str, str],
    seconds: float,
    output: IO[bytes] | None = None,
    cwd: Path | None = None,
) -> int:
    """Return the status with which the program ends. After `seconds` it is killed: TimeoutExpired is raised.

    Its output is our own, unless `output` gets it. Its standard input closes when this process ends.
    """
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        cwd=cwd,
        env={**without_secrets(), **environment},
    )
    try:
        return process.wait(seconds)
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
