"""The lifetime of a file that its client wants to keep for a limited time."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from core.options import Options

MIN_LIFETIME = 3600
MAX_LIFETIME = 30 * 24 * 3600
DEFAULT_LIFETIMES = {"batch": MAX_LIFETIME}
"""Seconds that files of a purpose are kept, as at OpenAI. Others stay until a client deletes them."""

Anchor = Literal["created_at"]
EXPIRY_ANCHORS: tuple[str, ...] = get_args(Anchor)


def lifetime_of(purpose: str, asked: int | None) -> int | None:
    """Return the lifetime of a file in seconds, or None if it stays. `asked` is what its client asks for."""
    return DEFAULT_LIFETIMES.get(purpose) if asked is None else asked


class ExpiresAfter(Options):
    """Deletes the file so many `seconds` after it was made, but not while a job needs it."""

    anchor: Anchor
    seconds: Annotated[int, Field(ge=MIN_LIFETIME, le=MAX_LIFETIME)]
