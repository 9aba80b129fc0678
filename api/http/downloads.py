"""Bytes on their way to a client, never whole in memory."""

import re
from collections.abc import Iterator
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Header
from starlette.responses import StreamingResponse

from core.errors import BeyondTheEnd, NotFound
from core.storage.object_store import ObjectStore

BYTES = "application/octet-stream"
ZIP = "application/zip"

RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")
Range = Annotated[
    str | None,
    Header(
        alias="range",
        description="`bytes=0-999` asks for a part; what is not of this form is answered with the whole",
    ),
]


def documented(media_type: str) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that answers with a `download`."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": "The bytes", "content": content}}


def documented_in_parts(media_type: str) -> dict[int | str, dict[str, Any]]:
    """The same, of a route that takes a `Range`."""
    (whole,) = documented(media_type).values()
    return {200: whole, 206: whole | {"description": "The part that was asked for"}}


def asked_part(header: str | None, size: int) -> range | None:
    """The places of the bytes that a `Range` header asks for; None for all. Raises BeyondTheEnd."""
    found = RANGE.fullmatch(header or "")
    if found is None:
        return None
    first, last = int(found[1]), int(found[2] or size - 1)
    if last < first and found[2]:
        return None
    if first >= size:
        raise BeyondTheEnd(size)
    return range(first, min(last + 1, size))


def download(
    chunks: Iterator[bytes],
    filename: str,
    *,
    size: int | None = None,
    media_type: str = BYTES,
    part: range | None = None,
) -> StreamingResponse:
    """A download that no browser renders. `size`, in bytes, lets the client notice a cut connection.

    With `part`, `chunks` are those places of so many bytes.
    """
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
    if part is not None:
        headers["content-range"] = f"bytes {part.start}-{part.stop - 1}/{size}"
        size = len(part)
    if size is not None:
        headers["content-length"] = str(size)
    status = 200 if part is None else 206
    return StreamingResponse(chunks, status, media_type=media_type, headers=headers)


def stored_bytes(store: ObjectStore, key: str, name: str, part: range | None = None) -> Iterator[bytes]:
    """The object's bytes, or a part of them. Raises NotFound where the store has lost them."""
    try:
        return store.read(key, part)
    except FileNotFoundError as error:
        raise NotFound(f"The bytes of {name} are no longer stored.", code="content_missing") from error
