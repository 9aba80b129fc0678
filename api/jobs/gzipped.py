"""A stream that is compressed as it goes: what has been sent can be read at once."""

import zlib
from collections.abc import AsyncIterator

# 20 KB for each open stream instead of 256: events resemble the one before, and a window of 4 KB has several
WINDOW, MEMORY = 12, 3
AS_GZIP = 16
HEADERS = {"content-encoding": "gzip", "vary": "accept-encoding"}


def accepts(accept_encoding: str) -> bool:
    return "gzip" in accept_encoding


async def gzipped(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    packer = zlib.compressobj(wbits=AS_GZIP + WINDOW, memLevel=MEMORY)
    async for part in stream:
        yield packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()
