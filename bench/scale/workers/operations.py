"""Measures each duty of a worker alone: how long it takes, and how much processor time of Postgres."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from bench.scale.progress import say_step
from bench.scale.workers.coroutines import Coroutines
from bench.scale.workers.duties import Duties, Held
from bench.scale.workers.evidence import Evidence
from bench.scale.workers.figures import summary


class Operations:
    """Calls duties of several workers, each of which does one after the other."""

    def __init__(
        self, workers: Sequence[Duties], calls: Coroutines, evidence: Evidence, seconds: float
    ) -> None:
        self._workers, self._calls, self._evidence, self._seconds = workers, calls, evidence, seconds
        self.found: dict[str, dict[str, Any]] = {}

    async def measure(self) -> None:
        held: dict[Duties, list[Held]] = {each: [] for each in self._workers}

        def claim(duties: Duties) -> None:
            job = duties.claim()
            if job is None:
                raise RuntimeError("No job waits any more: submit more of them")
            held[duties].append(job)

        await self._repeat("claim", claim)
        await self._repeat("renewal without news", lambda duties: duties.renew(held[duties][0]))
        await self._repeat("renewal with a step", lambda duties: duties.report_a_step(held[duties][0]))
        await self._repeat("scan", Duties.scan)
        await self._repeat("look for a job", Duties.look_for_a_job)
        await self._repeat("look for tasks", Duties.look_for_tasks)
        await self._repeat("look for trackers", Duties.look_for_trackers)
        await self._repeat("look for webhooks", Duties.look_for_webhooks)
        await self._repeat("janitor", Duties.remove_what_is_over)
        await self._each("end of a job", held)

    async def _repeat(self, name: str, duty: Callable[[Duties], object]) -> None:
        """Let all workers call a duty again and again, first to fill caches, and then to be measured."""

        async def repeat(duties: Duties, seconds: float, times: list[float]) -> None:
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                await self._timed(partial(duty, duties), times)

        await asyncio.gather(*(repeat(each, self._seconds / 5, []) for each in self._workers))
        await self._measure(name, [partial(repeat, each, self._seconds) for each in self._workers])

    async def _each(self, name: str, held: dict[Duties, list[Held]]) -> None:
        """Let all workers end their jobs."""

        async def finish(duties: Duties, times: list[float]) -> None:
            for job in held[duties]:
                await self._timed(partial(duties.finish, job), times)

        await self._measure(name, [partial(finish, each) for each in self._workers])

    async def _measure(self, name: str, repeats: Sequence[Callable[[list[float]], Any]]) -> None:
        times: list[float] = []
        before, began = self._evidence.now(), time.monotonic()
        await asyncio.gather(*(repeat(times) for repeat in repeats))
        cost, seconds = self._evidence.since(before), time.monotonic() - began
        self.found[name] = summary(times) | {
            "per_second": len(times) / seconds,
            "postgres_ms": 1e3 * cost.postgres / len(times),
            "driver_ms": 1e3 * cost.driver / len(times),
            "log_bytes": cost.log_bytes / len(times),
        }
        figures = self.found[name]
        say_step(
            f"{name}: {figures['per_second']:.0f} a second, {figures['median_ms']:.1f} ms, "
            f"{figures['postgres_ms']:.2f} ms of Postgres"
        )

    async def _timed(self, duty: Callable[[], object], times: list[float]) -> None:
        began = time.perf_counter()
        await self._calls.call(duty)
        times.append(time.perf_counter() - began)
