"""The error for an adapter that is not imported."""

from core.errors import JobError


def refusal(code: str, message: str, param: str = "file") -> JobError:
    """Return the error. The message says what is wrong, in which file or tensor, and what to do."""
    return JobError(code, message, param)


def shown(name: str) -> str:
    """Return a name that a client has chosen, in a form that is safe and short enough for a message."""
    return repr(name if len(name) <= 120 else f"{name[:120]}…")
