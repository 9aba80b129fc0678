"""Limits the requests whose sender this process does not know: sign-ins, and look-ups of unknown keys.

Anybody can send any number of them. So they share a few threads and connections, and cannot take those of the
requests whose sender is known.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from core.errors import Unavailable

SIGN_INS_AT_ONCE = 2

# After a sign-in, nobody gets its permit for so many seconds. Otherwise sign-ins would take most of the time
# of the interpreter, which is one thread's.
REST_SECONDS = 0.01

# So many seconds pass between two readings of unknown keys. One reading takes all that wait. So this costs
# the first request of a key a moment, and slows down those who invent keys.
LOOK_UP_SECONDS = 0.1

MOST_WAITING = 500
WAIT_SECONDS = 5.0


class Strangers:
    """The room in which strangers wait. Whoever waits for longer than `wait_seconds` is refused."""

    def __init__(
        self,
        most_waiting: int = MOST_WAITING,
        wait_seconds: float = WAIT_SECONDS,
        rest_seconds: float = REST_SECONDS,
        at_once: int = SIGN_INS_AT_ONCE,
    ) -> None:
        self._most_waiting, self._wait_seconds, self._rest_seconds = most_waiting, wait_seconds, rest_seconds
        self._permits = asyncio.Semaphore(at_once)
        self._waiting = 0

    @asynccontextmanager
    async def waiting(self) -> AsyncIterator[None]:
        """Let a stranger wait within the block. Raises Unavailable if too many wait, or it waits too long."""
        if self._waiting >= self._most_waiting:
            raise _too_many()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                yield
        except TimeoutError:
            raise _too_many() from None
        finally:
            self._waiting -= 1

    async def enter(self, permit: ExitStack) -> None:
        """Wait for the permit of a sign-in. It is released when `permit` is closed. Raises Unavailable."""
        async with self.waiting():
            await self._permits.acquire()
        permit.callback(asyncio.get_running_loop().call_later, self._rest_seconds, self._permits.release)


def _too_many() -> Unavailable:
    return Unavailable(
        "Too many sign-ins and requests with new API keys are waiting. Try again in a few seconds."
    )
