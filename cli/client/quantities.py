"""Tells estimates in words, for tables that people read."""

GB = 1e9  # bytes
MINUTE, HOUR = 60, 3600  # seconds
FITS = {True: "yes", False: "no", None: "not known"}


def size(count: float) -> str:
    """Return a number of bytes in GB."""
    return f"{count / GB:.2f} GB"


def time(seconds: float) -> str:
    """Return a time in the unit in which it has one to three digits."""
    if seconds < 2 * MINUTE:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE:.0f} min" if seconds < 2 * HOUR else f"{seconds / HOUR:.1f} h"
