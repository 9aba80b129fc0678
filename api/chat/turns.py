"""Limits how many chats of one project are answered at the same time. Further ones wait, or are refused.

A chat keeps its turn until its answer has ended. These turns are apart from those of other requests
(`api.admission.fair_share`), so that long answers hold up nothing else.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from core.errors import RateLimited

RETRY_AFTER_SECONDS = 2


class ChatTurns:
    """The turns of all projects in this process. Only the event loop may call."""

    def __init__(self, most_waiting: int, wait_seconds: float) -> None:
        self._most_waiting = most_waiting
        self._wait_seconds = wait_seconds
        self._waiting: Counter[str] = Counter()
        # A room lives as long as one of its chats is at work or waits
        self._rooms: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def turn(self, project_id: str, most: int) -> AsyncIterator[None]:
        """Hold a turn in the block, of a project that may have `most`. Raises RateLimited."""
        room = self._rooms.get((project_id, most))
        if room is None:
            room = self._rooms[project_id, most] = asyncio.Semaphore(most)
        await self._enter(room, project_id, most)
        try:
            yield
        finally:
            room.release()

    async def _enter(self, room: asyncio.Semaphore, project_id: str, most: int) -> None:
        if room.locked() and self._waiting[project_id] >= self._most_waiting:
            raise self._refusal(most, f"and {self._most_waiting} more wait.", RETRY_AFTER_SECONDS)
        self._waiting[project_id] += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await room.acquire()
        except TimeoutError:
            waited = f"and this one has waited for {self._wait_seconds:g} s."
            raise self._refusal(most, waited, math.ceil(self._wait_seconds / 2) or 1) from None
        finally:
            self._waiting[project_id] -= 1
            if not self._waiting[project_id]:
                del self._waiting[project_id]

    def _refusal(self, most: int, fate: str, retry_after: int) -> RateLimited:
        return RateLimited(
            f"This project may have {most} chat{'' if most == 1 else 's'} at once, {fate} Send fewer, or ask "
            "the operator for a larger quota.",
            retry_after=retry_after,
        )
