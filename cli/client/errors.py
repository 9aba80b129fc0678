"""How a command ends badly: each error carries the exit code that `cli.main` documents.

TuneryError
└── CommandError
    ├── Refused       1   the server answered, and said no
    ├── GaveUp        1   `up` cannot keep a part running; `doctor` or `secrets reseal` found something broken
    ├── Unreachable   3   nobody answers at the server's or the database's address
    ├── JobFailed     4   the job that was watched has failed
    ├── JobCancelled  5   the job that was watched was cancelled
    └── JobPaused     6   the job that was watched is paused: it does not go on by itself

A ConfigurationError ends with 2, as a misspelt option does.
"""

from core.errors import TuneryError


class CommandError(TuneryError):
    """Base of the errors that decide the exit code."""

    exit_code = 1


class Refused(CommandError):
    """The server's own error, in OpenAI's form. `status` is the HTTP status."""

    def __init__(self, status: int, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    @property
    def is_passing(self) -> bool:
        """True where the same request may succeed later: overload, restart."""
        return self.status == 429 or self.status >= 500

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message} ({self.code or f'HTTP {self.status}'})"


class GaveUp(CommandError):
    """Something does not run, and trying again did not help."""


class Unreachable(CommandError):
    """No connection, or it broke before the answer."""

    exit_code = 3


class JobFailed(CommandError):
    exit_code = 4


class JobCancelled(CommandError):
    exit_code = 5


class JobPaused(CommandError):
    exit_code = 6
