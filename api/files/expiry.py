"""The lifetime of a file that its client wants to keep for a limited time."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from core.options import Options

MIN_LIFETIME = 3600
MAX_LIFETIME = 30 * 24 * 3600

Anchor = Literal["created_at"]
EXPIRY_ANCHORS: tuple[str, ...] = get_args(Anchor)


class ExpiresAfter(Options):
    """Deletes the file so many `seconds` after it was made, but not while a job needs it."""

    anchor: Anchor
    seconds: Annotated[int, Field(ge=MIN_LIFETIME, le=MAX_LIFETIME)]
