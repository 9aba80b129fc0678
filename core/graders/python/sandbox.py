"""Describes the sandbox for the code of Python graders: what it is given, and what can go wrong."""

import json
from dataclasses import dataclass
from typing import Any, Literal

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


def given(text: str, item: Any) -> str:
    """Return the sample and the item as JSON, as a grader is given them.

    The sample has what a model wrote, in OpenAI's form. Within the sandbox, `output_json` is added, which is
    the parsed text, or None if it is not JSON.
    """
    message = {"role": "assistant", "content": text}
    sample = {"output_text": text, "output_tools": [], "choices": [{"index": 0, "message": message}]}
    return json.dumps([sample, item])
