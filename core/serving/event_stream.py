"""Reads a stream of server-sent events: that of our server, or of an upstream."""

from collections.abc import AsyncIterator

DONE = b"[DONE]"
MOST_EVENT_BYTES = 4 * 1024**2


async def events_of(chunks: AsyncIterator[bytes]) -> AsyncIterator[list[bytes]]:
    """Yield the data of the events in each piece of a stream. Raises ValueError if an event has no end."""
    pending = b""
    async for chunk in chunks:
        *whole, pending = (pending + chunk).split(b"\n\n")
        if len(pending) > MOST_EVENT_BYTES:
            raise ValueError("an event is too large")
        events = [event.removeprefix(b"data: ") for event in whole if event.startswith(b"data: ")]
        if events:
            yield events
