"""Limits how many answers to one project's chats are written at once. Further chats wait, or are refused.

The rows of its eval runs count as chats. They take permits only while no chat waits.

A chat needs a permit for each of its answers, and keeps them until the last one has ended. These permits
are apart from those of other requests (`api.admission.fair_share`), so that long answers hold up nothing
else. The chats of one process wait in the order of their arrival, and only the first of them asks for
permits that other processes have.
"""

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from core.errors import RateLimited
from core.serving.shared_permits import SharedPermits

RETRY_AFTER_SECONDS = 2


class _Room:
    """One project's permits in this process. It lives as long as one of its chats is at work or waits.

    Limit and order are the broker's, for all processes. While the broker is away, they are kept here alone.
    """

    def __init__(self, most: int) -> None:
        self.permits = asyncio.Semaphore(most)
        self.entering = asyncio.Lock()
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
    async def permit(
        self, project_id: str, most: int, answers: int = 1, *, yields: bool = False
    ) -> AsyncIterator[None]:
        """Hold permits for so many answers in the block. Raises RateLimited.

        The project may have `most`. A request for more answers than that takes all of them. One that `yields`
        takes them only while nobody else of the project waits.
        """
        room = self._rooms.get((project_id, most))
        if room is None:
            room = self._rooms[project_id, most] = _Room(most)
        permits = await self._enter(room, project_id, most, min(answers, most), yields)
        try:
            yield
        finally:
            self._shared.give_back(project_id, permits)
            for _ in permits:
                room.permits.release()

    def close(self) -> None:
        self._shared.close()

    async def _enter(
        self, room: _Room, project_id: str, most: int, answers: int, yields: bool
    ) -> Sequence[str]:
        if room.permits.locked() and self._waiting[project_id] >= self._most_waiting:
            raise self._refusal(most, f"and {self._most_waiting} more wait.", RETRY_AFTER_SECONDS)
        self._waiting[project_id] += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                return await self._taken(room, project_id, most, answers, yields)
        except TimeoutError:
            waited = f"and this one has waited for {self._wait_seconds:g} s."
            raise self._refusal(most, waited, math.ceil(self._wait_seconds / 2) or 1) from None
        finally:
            self._waiting[project_id] -= 1
            if not self._waiting[project_id]:
                del self._waiting[project_id]

    async def _taken(
        self, room: _Room, project_id: str, most: int, answers: int, yields: bool
    ) -> Sequence[str]:
        """Return the ids of the permits when there are enough."""
        taken = 0
        try:
            # One chat at a time, or two might each wait for permits that the other one has. It lets the next
            # one enter before it asks the broker: so `_enter` knows when this process has no permits left.
            async with room.entering:
                while taken < answers:
                    await room.permits.acquire()
                    taken += 1
            async with room.first:
                return await self._shared.take(project_id, most, answers, yields=yields)
        except BaseException:
            for _ in range(taken):
                room.permits.release()
            raise

    def _refusal(self, most: int, fate: str, retry_after: int) -> RateLimited:
        return RateLimited(
            f"This project may have {most} answer{'' if most == 1 else 's'} at once, {fate} Send fewer "
            "chats, or fewer prompts and a smaller 'n' in each, or ask the operator for a larger quota.",
            retry_after=retry_after,
        )
