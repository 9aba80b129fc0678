"""Sends a job's CSV of results as base64 to OpenAI's clients, whose users decode it.

OpenAI sends base64 text for these files, and most code decodes it. No text is both a CSV and its own base64.
So the request decides: OpenAI's clients ask for `application/binary`; browsers, curl and others do not.
"""

import base64
from collections.abc import Iterator
from typing import Annotated

from fastapi import Header

from core.tables import File

OPENAIS_CLIENTS = "application/binary"

Accept = Annotated[str, Header(include_in_schema=False)]


def is_wanted(file: File, accept: str) -> bool:
    """Return whether the answer to this `Accept` header is base64 instead of the file itself."""
    is_table = file.purpose == "fine-tune-results" and file.filename.endswith(".csv")
    return is_table and accept.strip().lower() == OPENAIS_CLIENTS


def size(stored: int) -> int:
    """Return the length of the base64 of so many bytes."""
    return -(-stored // 3) * 4


def encoded(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the base64 of the chunks as one text without line ends."""
    rest = b""
    for chunk in chunks:
        data = rest + chunk
        whole = len(data) - len(data) % 3
        rest = data[whole:]
        yield base64.b64encode(data[:whole])
    yield base64.b64encode(rest)
