"""Errors that end a command. Each has the exit code that `cli.main` documents.

TuneryError
└── CommandError
    ├── Refused       1   the server answered with an error
    ├── GaveUp        1   `up` cannot keep a part running; `doctor`, `secrets reseal`, `backup` or `restore`
    │                     found a fault
    ├── Unreachable   3   no answer from the address of the server or of the database
    ├── WorkFailed    4   the job, export, composition, measurement or run that was waited for has failed
    ├── WorkCancelled 5   the same was cancelled
    └── JobPaused     6   the job that was watched is paused: it does not go on by itself

A ConfigurationError ends the command with exit code 2, as a misspelt option does.
"""

import re
from collections.abc import Mapping
from typing import Any

from core.errors import TuneryError

COMMANDS = {  # for requests that the server's sentences name
    r"`?GET /v1/models\b(?!/)`?": "`tunery models list`",
    r"`?POST /v1/aliases\b(?!/)`?": "`tunery aliases set`",
    r"`?DELETE /v1/aliases/([\w.:-]*\w)`?": r"`tunery aliases delete \1`",
}


class CommandError(TuneryError):
    """Base class of the errors that decide the exit code."""

    exit_code = 1


class Refused(CommandError):
    """The server answered with an error, in OpenAI's form. `status` is the HTTP status."""

    def __init__(
        self, status: int, message: str, code: str | None = None, answer: Mapping[str, Any] | None = None
    ) -> None:
        """`answer` is the whole `error` of the answer."""
        super().__init__(_with_commands(message))
        self.status, self.code = status, code
        self._answer = answer or {"message": message, "code": code}

    @property
    def details(self) -> dict[str, Any]:
        """Return the server's answer, for programs."""
        return {**self._answer, "status": self.status}

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later, after an overload or a restart."""
        return self.status == 429 or self.status >= 500

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.code or f'HTTP {self.status}'})"


def _with_commands(message: str) -> str:
    """Return the server's sentence with commands in place of requests."""
    for request, command in COMMANDS.items():
        message = re.sub(request, command, message)
    return message


class GaveUp(CommandError):
    """A part cannot be kept running, or a check found a fault. Another try would not help."""


class Unreachable(CommandError):
    """There is no connection, or it broke before the answer."""

    exit_code = 3


class WorkFailed(CommandError):
    exit_code = 4


class WorkCancelled(CommandError):
    exit_code = 5


class JobPaused(CommandError):
    exit_code = 6
