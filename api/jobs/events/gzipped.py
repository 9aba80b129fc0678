"""Compresses a stream while it is sent. The client can read each part as soon as it arrives."""

import zlib
from collections.abc import AsyncIterator

# An open stream takes 20 KB with these settings, and 256 KB with zlib's defaults. The small window suffices:
# an event resembles the event before it, and 2**12 bytes hold several events.
WINDOW, MEMORY = 12, 3
AS_GZIP = 16
HEADERS = {"content-encoding": "gzip", "vary": "accept-encoding"}


def accepts(accept_encoding: str) -> bool:
    return "gzip" in accept_encoding


async def gzipped(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the stream's parts compressed, so that each part can be unpacked as soon as it arrives."""
    packer = zlib.compressobj(wbits=AS_GZIP + WINDOW, memLevel=MEMORY)
    async for part in stream:
        yield packer.compress(part) + packer.flush(zlib.Z_SYNC_FLUSH)
    yield packer.flush()
