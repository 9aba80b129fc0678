"""The last event of a stream that cannot be finished."""

import json

from core.errors import AppError


def error_event(error: AppError) -> bytes:
    """Return the last event of a stream that cannot be finished. OpenAI's client raises it as an error."""
    return b"data: " + json.dumps(error.body(), ensure_ascii=False).encode() + b"\n\n"
