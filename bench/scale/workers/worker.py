"""The coroutines of one worker: its trainer, and its threads that look for work again and again."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from bench.scale.workers.coroutines import Coroutines
from bench.scale.workers.duties import Duties, Held
from bench.scale.workers.rates import Rates
from core.errors import LeaseLost

T = TypeVar("T")


class Times:
    """The seconds of each call by its name, and the seconds by which calls began too late.

    A call begins late if the event loop is busy with other coroutines: then the driver is the limit.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.late: list[float] = []
        self.projects: dict[str, int] = defaultdict(int)
        self.failed: dict[str, int] = defaultdict(int)

    def clear(self) -> None:
        self.seconds.clear()
        self.late.clear()
        self.projects.clear()
        self.failed.clear()


class Worker:
    """A worker that claims one job after the other until it is told to stop."""

    def __init__(
        self, duties: Duties, calls: Coroutines, rates: Rates, times: Times, first: asyncio.Semaphore
    ) -> None:
        """`first` limits how many workers claim their first job at once."""
        self._first = first
        self._duties, self._calls, self._rates, self._times = duties, calls, rates, times
        self._stopping = asyncio.Event()
        self.has_claimed = asyncio.Event()

    async def run(self) -> None:
        """Work until `stop`. The job that is held then goes back into the queue."""
        duties, rates = self._duties, self._rates
        async with asyncio.TaskGroup() as group:
            group.create_task(self._train())
            group.create_task(self._repeat("scan", rates.scan, duties.scan))
            group.create_task(self._repeat("look for a job", rates.look, duties.look_for_a_job))
            group.create_task(self._repeat("look for tasks", rates.tasks, duties.look_for_tasks))
            group.create_task(self._repeat("look for trackers", rates.trackers, duties.look_for_trackers))
            group.create_task(self._repeat("look for webhooks", rates.webhooks, duties.look_for_webhooks))
            group.create_task(self._repeat("janitor", rates.janitor, duties.remove_what_is_over))

    def stop(self) -> None:
        self._stopping.set()

    async def _train(self) -> None:
        first = True
        while not self._stopping.is_set():
            held = await self._claim()
            if held is None:
                await self._rest(self._rates.scan)
                continue
            self.has_claimed.set()
            self._times.projects[held.project] += 1
            # At first, jobs end at any time, as if the workers had been at work for long
            ends = time.monotonic() + self._rates.job * (random.random() if first else 1.0)
            first = False
            while time.monotonic() < ends and await self._rest(self._rates.beat):
                await self._tried("renewal with a step", partial(self._duties.report_a_step, held))
            if self._stopping.is_set():
                await self._tried("release", partial(self._duties.release, held.lease.lease))
            else:
                await self._tried("end of a job", partial(self._duties.finish, held))

    async def _claim(self) -> Held | None:
        if self.has_claimed.is_set():
            return await self._tried("claim", self._duties.claim)
        async with self._first:
            return None if self._stopping.is_set() else await self._tried("claim", self._duties.claim)

    async def _repeat(self, name: str, seconds: float, duty: Callable[[], object]) -> None:
        await self._rest(random.random() * seconds)
        while not self._stopping.is_set():
            await self._tried(name, duty)
            await self._rest(seconds)

    async def _rest(self, seconds: float) -> bool:
        """Wait, at most until `stop`. Return whether the worker goes on."""
        until = time.monotonic() + seconds
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            self._times.late.append(time.monotonic() - until)
            return True
        return False

    async def _tried(self, name: str, duty: Callable[[], T]) -> T | None:
        """Call a duty that real workers repeat later if the database gives no answer in time."""
        try:
            return await self._timed(name, duty)
        except (LeaseLost, SQLAlchemyError):
            self._times.failed[name] += 1
            return None

    async def _timed(self, name: str, duty: Callable[[], T]) -> T:
        began = time.perf_counter()
        result = await self._calls.call(duty)
        self._times.seconds[name].append(time.perf_counter() - began)
        return result
