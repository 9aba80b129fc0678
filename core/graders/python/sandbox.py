"""Describes the sandbox for the code of Python graders, and what can go wrong."""

from dataclasses import dataclass
from typing import Literal

Runner = Literal["monty", "bubblewrap", "off"]

MIB = 1024**2
MOST_SECONDS, MOST_MEMORY = 120, 2048 * MIB  # OpenAI's limits
MOST_DETAILS = 500  # characters of an error that a client is shown


@dataclass(frozen=True)
class Sandbox:
    """What runs the code of Python graders, and its bounds.

    `seconds` is for all Python graders of one sample together. `memory` is for each of them, in bytes.
    """

    runner: Runner = "monty"
    seconds: float = 5.0
    memory: int = 256 * MIB


class GraderFailed(Exception):
    """The client's code failed on a sample; str() says how, and names the line if there is one."""


class SandboxFailed(Exception):
    """The sandbox itself failed, not the client's code; str() is a word for the kind of failure."""


class SourceRefused(Exception):
    """The source is not one of a grader; str() says why, and names the line if there is one."""


def out_of_time(seconds: float) -> GraderFailed:
    """Return the failure of code that took longer than it may."""
    return GraderFailed(f"it took longer than {seconds:.3g} seconds")


def out_of_memory(sandbox: Sandbox) -> GraderFailed:
    """Return the failure of code that took more memory than it may."""
    return GraderFailed(f"it needed more than {sandbox.memory // MIB} MiB of memory")
