"""Ends the work on a request when its client leaves: otherwise a server goes on for nobody."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import ClientDisconnect
from starlette.types import Receive


@asynccontextmanager
async def while_client_waits(receive: Receive) -> AsyncIterator[None]:
    """Raise ClientDisconnect in the block when the client leaves.

    The body must have been read. The answer must not end in the block: a client seems to have left then.
    """
    until = asyncio.timeout(None)

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        until.reschedule(asyncio.get_running_loop().time())

    watching = asyncio.create_task(watch())
    try:
        async with until:
            yield
    except TimeoutError as error:
        if not until.expired():
            raise
        raise ClientDisconnect from error
    finally:
        watching.cancel()
