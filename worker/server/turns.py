"""Turns at work of which there are few: projects take them one after the other, and one at a time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import NamedTuple

from core.errors import RateLimited

RETRY_AFTER = 5
MOST_REMEMBERED = 1000  # projects, to know whose turn is next


class _Waiter(NamedTuple):
    project: str
    granted: "asyncio.Future[None]"


class Turns:
    """The turns at one kind of work. Only the event loop may call.

    The next turn is that of the project whose last one ended first. The requests of a project take its turns
    in the order of their arrival.
    """

    def __init__(
        self, at_once: int, most_waiting: int | None = None, wait_seconds: float | None = None
    ) -> None:
        """`at_once` projects have a turn. Of one project, `most_waiting` requests wait for `wait_seconds`."""
        self._at_once, self._most_waiting, self._wait_seconds = at_once, most_waiting, wait_seconds
        self._at_work: set[str] = set()
        self._waiting: list[_Waiter] = []
        self._ended: dict[str, int] = {}  # when the last turn of each project ended, the latest last
        self._numbers = count(1)

    @asynccontextmanager
    async def turn(self, project: str) -> AsyncIterator[None]:
        """Wait for a turn, and hold it in the block. Raises RateLimited."""
        waiter = _Waiter(project, asyncio.get_running_loop().create_future())
        self._refuse_if_crowded(project)
        self._waiting.append(waiter)
        self._grant()
        try:
            try:
                async with asyncio.timeout(self._wait_seconds):
                    await waiter.granted
            except TimeoutError as error:
                raise self._refusal(f"and this one has waited for {self._wait_seconds:g} s") from error
            yield
        finally:
            self._leave(waiter)

    def _leave(self, waiter: _Waiter) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
            return
        self._at_work.discard(waiter.project)
        self._ended.pop(waiter.project, None)
        self._ended[waiter.project] = next(self._numbers)
        if len(self._ended) > MOST_REMEMBERED:
            del self._ended[next(iter(self._ended))]
        self._grant()

    def _grant(self) -> None:
        while len(self._at_work) < self._at_once:
            ready = [
                each
                for each in self._waiting
                if each.project not in self._at_work and not each.granted.cancelled()
            ]
            if not ready:
                return
            chosen = min(ready, key=lambda each: self._ended.get(each.project, 0))
            self._waiting.remove(chosen)
            self._at_work.add(chosen.project)
            chosen.granted.set_result(None)

    def _refuse_if_crowded(self, project: str) -> None:
        waiting = sum(each.project == project for each in self._waiting)
        if self._most_waiting is not None and waiting >= self._most_waiting:
            raise self._refusal(f"and {waiting} more wait")

    def _refusal(self, fate: str) -> RateLimited:
        message = f"A server does one such request of a project at once, {fate}. Send fewer at once."
        return RateLimited(message, retry_after=RETRY_AFTER)
