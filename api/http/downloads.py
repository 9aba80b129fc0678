"""Downloads. The bytes go to the client in chunks, and are never in memory as a whole."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

from anyio import CapacityLimiter
from fastapi import Header
from starlette.responses import StreamingResponse

from api.admission.store_threads import in_threads
from core.errors import BeyondTheEnd, NotFound
from core.storage.folders import object_key
from core.storage.object_store import ObjectStore

BYTES = "application/octet-stream"
ZIP = "application/zip"

RANGE = re.compile(r"bytes=(\d{1,18})-(\d{1,18})?")
Range = Annotated[
    str | None,
    Header(
        alias="range",
        description="`bytes=0-999` asks for a part of the file. Any other form gets the whole file",
    ),
]


def documented(media_type: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route that answers with a `download`."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {200: {"description": "The bytes of the file", "content": content}}


def documented_in_parts(media_type: str) -> dict[int | str, dict[str, Any]]:
    """Return the `responses=` of a route that answers with a `download` and takes a `Range`."""
    (whole,) = documented(media_type).values()
    return {200: whole, 206: whole | {"description": "The bytes of the part that the client asked for"}}


def asked_part(header: str | None, size: int) -> range | None:
    """Return the range of the bytes that a `Range` header asks for, or None for all bytes.

    `size` is the size of the file in bytes. Raises BeyondTheEnd if the part begins behind the end.
    """
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
    threads: CapacityLimiter,
    *,
    size: int | None = None,
    media_type: str = BYTES,
    part: range | None = None,
) -> StreamingResponse:
    """Return an answer that a browser saves to a file and does not show.

    One of `threads` waits for each chunk. `size` is the size of the file in bytes; with it, the client
    notices if the connection breaks. With `part`, `chunks` hold only these bytes of the file.
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
    return StreamingResponse(in_threads(chunks, threads), status, media_type=media_type, headers=headers)


def listed_file(
    store: ObjectStore, prefix: str | None, files: Sequence[Mapping[str, Any]], name: str, owner: str
) -> tuple[int, Iterator[bytes]]:
    """Return the size of one file of a folder in bytes, and its bytes.

    Only a name that `files` lists becomes part of a key. Raises NotFound for any other name, which
    names `owner`.
    """
    entry = next((entry for entry in files if entry["name"] == name), None)
    if entry is None:
        raise NotFound(f"{owner} has no file {name!r}", code="file_not_found", param="name")
    return entry["bytes"], stored_bytes(store, object_key(prefix or "", entry), name)


def stored_bytes(store: ObjectStore, key: str, name: str, part: range | None = None) -> Iterator[bytes]:
    """Return the bytes of the object, or a part of them. Raises NotFound if the store has lost them."""
    try:
        return store.read(key, part)
    except FileNotFoundError as error:
        raise NotFound(f"The content of {name} is no longer stored.", code="content_missing") from error
