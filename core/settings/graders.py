"""These settings say where the code of Python graders runs, and within which bounds."""

from pydantic import Field
from pydantic_settings import BaseSettings

from core.graders.python.sandbox import MIB, MOST_MEMORY, MOST_SECONDS, Runner, Sandbox

DEFAULT = Sandbox()


class GraderFields(BaseSettings):
    """The settings of graders."""

    python_graders: Runner = Field(
        DEFAULT.runner,
        description="What runs the code of Python graders: `monty`, an interpreter of a subset of Python; "
        "`bubblewrap`, which runs CPython in a sandbox of Linux and needs the package bubblewrap on each "
        "machine that grades; or `off`, which refuses Python graders",
    )
    python_grader_seconds: float = Field(
        DEFAULT.seconds,
        gt=0,
        le=MOST_SECONDS,
        description="Most time for the code of all Python graders of one sample, seconds",
    )
    python_grader_memory_bytes: int = Field(
        DEFAULT.memory,
        ge=64 * MIB,
        le=MOST_MEMORY,
        description="Most memory for the code of a Python grader, bytes. Up to two run at once in the API "
        "and in each eval run",
    )
