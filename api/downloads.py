"""Bytes on their way to a client, never whole in memory."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from starlette.responses import StreamingResponse

from core.errors import NotFound
from core.storage import ObjectStore

BYTES = "application/octet-stream"
ZIP = "application/zip"


def documented(media_type: str) -> dict[int | str, dict[str, Any]]:
    """`responses=` of a route that answers with a `download`."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": "The bytes", "content": content}}


def download(
    chunks: Iterator[bytes],
    filename: str,
    *,
    size: int | None = None,
    media_type: str = BYTES,
) -> StreamingResponse:
    """A download that no browser renders. `size`, in bytes, lets the client notice a cut connection."""
    headers = {
        "content-disposition": f"attachment; filename*=UTF-8''{quote(filename, safe='')}",
        "x-content-type-options": "nosniff",
    }
    if size is not None:
        headers["content-length"] = str(size)
    return StreamingResponse(chunks, media_type=media_type, headers=headers)


def stored_bytes(store: ObjectStore, key: str, name: str) -> Iterator[bytes]:
    """The object's bytes. Raises NotFound where the store has lost them."""
    try:
        return store.read(key)
    except FileNotFoundError as error:
        raise NotFound(f"The bytes of {name} are no longer stored.", code="content_missing") from error
