"""How many requests the server works on at once, and that it takes none while it stops."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from worker.server.errors import ServerBusy, Stopping, WaitedTooLong
from worker.server.exchange import Exchange


class Admission:
    """The requests that wait or run. Only the event loop may call, but any thread may read the numbers."""

    def __init__(self, capacity: int, wait_seconds: float) -> None:
        """The first token of an answer must come within `wait_seconds`."""
        self.capacity = capacity
        self.draining = False
        self._wait_seconds = wait_seconds
        self._open: set[Exchange] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def running(self) -> int:
        """The number of requests whose first token has come."""
        return sum(exchange.generates for exchange in tuple(self._open))

    @property
    def held(self) -> int:
        """The number of requests that wait or run."""
        return len(self._open)

    @contextmanager
    def permit(self, exchange: Exchange) -> Iterator[None]:
        """Hold a permit for the request in the block. Raises ServerBusy or Stopping if there is none."""
        if self.draining:
            raise Stopping("This server is stopping and takes no new requests. Send the request again.")
        if len(self._open) >= self.capacity:
            raise ServerBusy(
                f"The server has {self.capacity} requests to work on and takes no more. Try again later.",
                retry_after=2,
            )
        self._open.add(exchange)
        self._empty.clear()
        late = asyncio.get_running_loop().call_later(self._wait_seconds, self._end_late, exchange)
        try:
            yield
        finally:
            late.cancel()
            self._open.discard(exchange)
            if not self._open:
                self._empty.set()

    async def drain(self, seconds: float) -> None:
        """Take no new requests, and end those that wait. Let answers go on for so long, then end them."""
        self.draining = True
        for exchange in tuple(self._open):
            if not exchange.generates:
                exchange.end(Stopping("This server is stopping. Send the request again."))
        try:
            await asyncio.wait_for(self._empty.wait(), seconds)
        except TimeoutError:
            self.end_all(Stopping("The server was stopped before the answer was complete."))

    def end_all(self, reason: Exception) -> None:
        """End all requests that wait or run."""
        for exchange in tuple(self._open):
            exchange.end(reason)

    def _end_late(self, exchange: Exchange) -> None:
        if not exchange.generates:
            exchange.end(
                WaitedTooLong(
                    f"The answer has not begun within {self._wait_seconds:g} s: the model is still being "
                    "loaded, or others are before it. Send the request again."
                )
            )
