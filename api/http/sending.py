"""Sends a piece of a stream, and gives up a client that does not take it."""

import asyncio

from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

SEND_SECONDS = 30.0  # in which a client must take what it is sent


async def send_in_time(send: Send, message: Message, seconds: float = SEND_SECONDS) -> None:
    """Send the message. Raises ClientDisconnect if the client does not take it within `seconds`."""
    try:
        async with asyncio.timeout(seconds):
            await send(message)
    except TimeoutError:
        raise ClientDisconnect from None
