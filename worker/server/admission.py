"""How many answers the server works on at once, whose they are, and that it takes none while it stops."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from worker.process.equal_share import is_within_share
from worker.server.errors import ServerBusy, Stopping, WaitedTooLong
from worker.server.exchange import Exchange

MOST_TIMES = 16  # the capacity: beyond that, also a project without an answer waits


class Admission:
    """The requests that wait or run. Only the event loop may call, but any thread may read the numbers.

    A request counts as often as it has answers, but not as more than the capacity. While several projects
    have requests, each has a right to an equal share of the capacity, also if others have filled it before.
    """

    def __init__(
        self, capacity: int, wait_seconds: float, loading: Callable[[], str | None] = lambda: None
    ) -> None:
        """The first token of an answer must come within `wait_seconds`.

        `loading` returns how far the load of a model has come, if one is being loaded.
        """
        self.capacity = capacity
        self.draining = False
        self._wait_seconds, self._loading = wait_seconds, loading
        self._open: dict[Exchange, int] = {}
        self._empty = asyncio.Event()
        self._empty.set()

    @property
    def requests(self) -> int:
        """The number of requests that wait or run."""
        return len(self._open)

    @property
    def running(self) -> int:
        """The number of answers of requests whose first token has come."""
        return sum(answers for exchange, answers in self._open.copy().items() if exchange.generates)

    @property
    def held(self) -> int:
        """The number of answers that wait or run."""
        return sum(self._open.copy().values())

    @contextmanager
    def permit(self, exchange: Exchange, answers: int = 1) -> Iterator[None]:
        """Hold permits for the answers of a request in the block. Raises ServerBusy or Stopping."""
        if self.draining:
            raise Stopping("This server is stopping and takes no new requests. Send the request again.")
        answers = min(answers, self.capacity)
        if self._is_full_for(exchange.project, answers):
            raise ServerBusy(
                f"The server has {self.capacity} answers to work on and takes no more. Try again later.",
                retry_after=2,
            )
        self._open[exchange] = answers
        self._empty.clear()
        late = asyncio.get_running_loop().call_later(self._wait_seconds, self._end_late, exchange)
        try:
            yield
        finally:
            late.cancel()
            del self._open[exchange]
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

    def _is_full_for(self, project: str, answers: int) -> bool:
        """Return whether a request of the project is refused.

        While the server has less than its capacity, it takes any request. A full server still takes a
        project's first request, and those within its equal share.
        """
        held = self.held
        if held < self.capacity:
            return False
        own = sum(number for exchange, number in self._open.items() if exchange.project == project)
        projects = len({project, *(exchange.project for exchange in self._open)})
        within_share = not own or is_within_share(own + answers, projects, self.capacity)
        return not within_share or held >= MOST_TIMES * self.capacity

    def _end_late(self, exchange: Exchange) -> None:
        if not exchange.generates:
            reason = "others are before it, or what it needs is not loaded yet"
            if loading := self._loading():
                reason = f"a model is being loaded: {loading}"
            text = (
                f"The answer has not begun within {self._wait_seconds:g} s: {reason}. Send the request again."
            )
            exchange.end(WaitedTooLong(text))
