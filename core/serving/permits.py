"""Limits how many chats of one project are answered at the same time. Further ones wait, or are refused.

The rows of its eval runs count as chats. They take permits only while no chat waits.

A chat keeps its permit until its answer has ended. These permits are apart from those of other requests
(`api.admission.fair_share`), so that long answers hold up nothing else. The chats of one process wait in the
order of their arrival, and only the first of them asks for a permit that other processes have.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from core.errors import RateLimited
from core.serving.shared_permits import SharedPermits

RETRY_AFTER_SECONDS = 2


class _Room:
    """One project's permits in this process. It lives as long as one of its chats is at work or waits."""

    def __init__(self, most: int) -> None:
        self.permits = asyncio.Semaphore(most)
        self.first = asyncio.Lock()


class ChatPermits:
    """The permits of all projects. Only the event loop may call."""

    def __init__(self, shared: SharedPermits, most_waiting: int, wait_seconds: float) -> None:
        self._shared = shared
        self._most_waiting = most_waiting
        self._wait_seconds = wait_seconds
        self._waiting: Counter[str] = Counter()
        self._rooms: WeakValueDictionary[tuple[str, int], _Room] = WeakValueDictionary()

    @asynccontextmanager
    async def permit(self, project_id: str, most: int, *, yields: bool = False) -> AsyncIterator[None]:
        """Hold a permit in the block, of a project that may have `most`. Raises RateLimited.

        One that `yields` takes it only while nobody else of the project waits.
        """
        room = self._rooms.get((project_id, most))
        if room is None:
            room = self._rooms[project_id, most] = _Room(most)
        permit = await self._enter(room, project_id, most, yields)
        try:
            yield
        finally:
            self._shared.give_back(project_id, permit)
            room.permits.release()

    def close(self) -> None:
        self._shared.close()

    async def _enter(self, room: _Room, project_id: str, most: int, yields: bool) -> str:
        if room.permits.locked() and self._waiting[project_id] >= self._most_waiting:
            raise self._refusal(most, f"and {self._most_waiting} more wait.", RETRY_AFTER_SECONDS)
        self._waiting[project_id] += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                return await self._taken(room, project_id, most, yields)
        except TimeoutError:
            waited = f"and this one has waited for {self._wait_seconds:g} s."
            raise self._refusal(most, waited, math.ceil(self._wait_seconds / 2) or 1) from None
        finally:
            self._waiting[project_id] -= 1
            if not self._waiting[project_id]:
                del self._waiting[project_id]

    async def _taken(self, room: _Room, project_id: str, most: int, yields: bool) -> str:
        """Return the id of a permit when there is one."""
        await room.permits.acquire()
        try:
            async with room.first:
                return await self._shared.take(project_id, most, yields=yields)
        except BaseException:
            room.permits.release()
            raise

    def _refusal(self, most: int, fate: str, retry_after: int) -> RateLimited:
        return RateLimited(
            f"This project may have {most} chat{'' if most == 1 else 's'} at once, {fate} Send fewer, or ask "
            "the operator for a larger quota.",
            retry_after=retry_after,
        )
