"""Limits the requests whose sender this process does not know: sign-ins, and look-ups of unknown keys.

Anybody can send any number of them. So they share a few turns, threads and connections, and cannot take those
of the requests whose sender is known.
"""

import asyncio
from contextlib import ExitStack

from anyio import CapacityLimiter

from core.errors import Unavailable

STRANGERS_AT_ONCE = 2

# After a turn, its place stays empty for so many seconds. A look-up takes about a millisecond, so strangers
# get at most a fifth of the time of the interpreter, which is one thread's.
REST_SECONDS = 0.01

# So many requests are looked up in about three seconds.
MOST_WAITING = 500
WAIT_SECONDS = 5.0


class Strangers:
    """The turns of strangers. Each begins within `WAIT_SECONDS`, or the request is refused."""

    def __init__(self) -> None:
        self.threads = CapacityLimiter(STRANGERS_AT_ONCE)
        self._turns = asyncio.Semaphore(STRANGERS_AT_ONCE)
        self._waiting = 0

    async def enter(self, turn: ExitStack) -> None:
        """Wait for a turn. It ends when `turn` is closed. Raises Unavailable if too many others wait."""
        if self._waiting >= MOST_WAITING:
            raise _too_many()
        self._waiting += 1
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._turns.acquire()
        except TimeoutError:
            raise _too_many() from None
        finally:
            self._waiting -= 1
        turn.callback(asyncio.get_running_loop().call_later, REST_SECONDS, self._turns.release)


def _too_many() -> Unavailable:
    return Unavailable(
        "Too many requests whose API key is not known yet wait for a look-up. Try again in a few seconds."
    )
