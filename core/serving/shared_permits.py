"""Counts the permits of each project over all processes, in the broker.

A permit there expires by itself if its process has died. While the broker is away, each process only counts
its own permits.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from core.access.rates import Counters
from core.ids import new_id

# Seconds
LASTS = 15  # for which a permit counts after its last renewal
RENEW = 4.0  # between two renewals, so that two of them may fail
LOOK = 0.1  # between two attempts to get a permit that other processes have
PATIENCE = 1.0  # after its latest attempt, one that waits has gone

# The permits of a project are a sorted set (KEYS[1]): each with the time at which it ends. Those that wait
# are in two more: each with the time of its arrival (KEYS[2]), and with that of its latest attempt (KEYS[3]).
# One whose attempts have ceased waits no longer. The name of one that waits ends with the number of permits
# that it needs, and it gets them all at once. One that yields (ARGV[5]) never waits there.
NOW = "local time = redis.call('TIME'); local now = time[1] + time[2] / 1000000\n"
TAKE = f"""{NOW}
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', now - ARGV[4])) do
    redis.call('ZREM', KEYS[2], gone)
    redis.call('ZREM', KEYS[3], gone)
end
if ARGV[5] == '1' then
    local others_wait = redis.call('ZCARD', KEYS[2]) > 0
    local all = redis.call('ZCARD', KEYS[1]) + string.match(ARGV[3], '%d+$')
    if others_wait or all > tonumber(ARGV[1]) then return 0 end
end
redis.call('ZADD', KEYS[2], 'NX', now, ARGV[3])
redis.call('ZADD', KEYS[3], now, ARGV[3])
for index = 1, 3 do redis.call('EXPIRE', KEYS[index], ARGV[2]) end
local needed = 0
for _, name in ipairs(redis.call('ZRANGE', KEYS[2], 0, redis.call('ZRANK', KEYS[2], ARGV[3]))) do
    needed = needed + string.match(name, '%d+$')
end
if needed > ARGV[1] - redis.call('ZCARD', KEYS[1]) then return 0 end
for index = 1, tonumber(string.match(ARGV[3], '%d+$')) do
    redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3] .. '/' .. index)
end
redis.call('EXPIRE', KEYS[1], ARGV[2])
redis.call('ZREM', KEYS[2], ARGV[3])
redis.call('ZREM', KEYS[3], ARGV[3])
return 1
"""
FORGET = "for index = 1, 3 do redis.call('ZREM', KEYS[index], unpack(ARGV)) end"
RENEWAL = f"""{NOW}
for index = 2, #ARGV do redis.call('ZADD', KEYS[1], now + ARGV[1], ARGV[index]) end
redis.call('EXPIRE', KEYS[1], ARGV[1])
"""


class SharedPermits:
    """The permits that this process holds, as all processes count them. Only the event loop may call."""

    def __init__(
        self, counters: Counters, lasts: int = LASTS, renew: float = RENEW, patience: float = PATIENCE
    ) -> None:
        self._lasts, self._renew_after, self._patience = lasts, renew, patience
        self._counters = counters
        self._redis: Any = counters.storage.storage
        # One thread, so that a permit is taken before it is given back
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="permits")
        self._held: dict[str, set[str]] = {}
        self._renewing: asyncio.Task[None] | None = None

    async def take(
        self, project_id: str, most: int, count: int = 1, *, yields: bool = False
    ) -> Sequence[str]:
        """Wait for permits of a project that may have `most`. Return their ids. The caller bounds the wait.

        Processes that wait get permits in the order in which they came. One that `yields` goes behind all
        others.
        """
        name = f"{new_id('')}:{count}"
        permits = [f"{name}/{index + 1}" for index in range(count)]
        asked = most, self._lasts, name, self._patience, int(yields)
        try:
            while await self._eval(TAKE, project_id, *asked) == 0:
                await asyncio.sleep(LOOK)
        except BaseException:
            self._forget(project_id, name, *permits)  # the broker may have given them in this moment
            raise
        self._held.setdefault(project_id, set()).update(permits)
        if self._renewing is None or self._renewing.done():
            self._renewing = asyncio.create_task(self._renew())
        return permits

    def give_back(self, project_id: str, permits: Sequence[str]) -> None:
        """Give permits back. The broker hears of it soon."""
        self._held[project_id].difference_update(permits)
        if not self._held[project_id]:
            del self._held[project_id]
        self._forget(project_id, *permits)

    def close(self) -> None:
        """Let the broker hear of the permits that were given back."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._thread.shutdown()

    async def _renew(self) -> None:
        """Renew all permits again and again, until there is none. The broker may also have forgotten them."""
        while self._held:
            await asyncio.sleep(self._renew_after)
            for project_id, permits in list(self._held.items()):
                await self._eval(RENEWAL, project_id, self._lasts, *permits)

    async def _eval(self, script: str, project_id: str, *arguments: Any) -> Any:
        """Return the broker's answer, or None if the broker is away."""
        question = self._question(script, project_id, *arguments)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._counters.ask, question)

    def _forget(self, project_id: str, *names: str) -> None:
        with suppress(RuntimeError):  # closed: the permit expires by itself
            self._thread.submit(self._counters.ask, self._question(FORGET, project_id, *names))

    def _question(self, script: str, project_id: str, *arguments: Any) -> Callable[[], Any]:
        held = f"tunery-chats:{{{project_id}}}"  # in braces, so that a cluster keeps the three sets together
        return partial(self._redis.eval, script, 3, held, f"{held}:arrived", f"{held}:asked", *arguments)
