"""Measures many workers: side by side at their work, and all of them as they claim at the same moment."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from bench.scale.progress import say_step
from bench.scale.workers import jobs
from bench.scale.workers.coroutines import Coroutines
from bench.scale.workers.duties import Duties, Held
from bench.scale.workers.evidence import Evidence
from bench.scale.workers.figures import summary
from bench.scale.workers.polls import Polls, poll
from bench.scale.workers.rates import Rates
from bench.scale.workers.worker import Times, Worker

TO_SHOW = 6  # kinds of waits
FIRST_AT_ONCE = 8  # workers that claim their first job
START_SECONDS = 60.0
BURST_SECONDS = 60.0


async def crowd(
    duties: Sequence[Duties],
    calls: Coroutines,
    rates: Rates,
    evidence: Evidence,
    polls: Polls,
    pool: ProcessPoolExecutor,
    projects: Sequence[str],
    seconds: float,
) -> dict[str, Any]:
    """Let the workers claim a few at a time, work for so many seconds, and stop. Return what was measured.

    Workers that have no job after START_SECONDS go on claiming, a few at a time.
    """
    times, first = Times(), asyncio.Semaphore(FIRST_AT_ONCE)
    workers = [Worker(each, calls, rates, times, first) for each in duties]
    began = time.monotonic()
    running = [asyncio.create_task(each.run()) for each in workers]
    with suppress(TimeoutError):
        async with asyncio.timeout(START_SECONDS):
            await asyncio.gather(*(each.has_claimed.wait() for each in workers))
    found: dict[str, Any] = {
        "workers": len(workers),
        "claimed": sum(each.has_claimed.is_set() for each in workers),
        "claimed_seconds": time.monotonic() - began,
        "first_claims": summary(times.seconds["claim"]),
        "failed_at_first": dict(times.failed),
    }
    say_step(f"{found['claimed']} of {len(workers)} workers have jobs after {found['claimed_seconds']:.1f} s")
    times.clear()
    found |= await _steady(times, evidence, polls, pool, seconds)
    shares = await calls.call(lambda: jobs.running(calls.sessions, projects))
    found["running_by_project"] = {"least": min(shares.values()), "most": max(shares.values())}
    for each in workers:
        each.stop()
    await asyncio.gather(*running)
    return found


async def burst(duties: Sequence[Duties], calls: Coroutines) -> dict[str, Any]:
    """Let all workers claim at the same moment, and then give the jobs back. Nothing else goes on.

    Those that have no job after BURST_SECONDS are not counted.
    """
    seconds: list[float] = []
    held: list[tuple[Duties, Held]] = []
    failed = 0
    began = time.monotonic()

    async def claim(worker: Duties) -> None:
        nonlocal failed
        try:
            job = await calls.call(worker.claim)
        except SQLAlchemyError:
            failed += 1
            return
        if job is not None:
            seconds.append(time.monotonic() - began)
            held.append((worker, job))

    claiming = [asyncio.create_task(claim(each)) for each in duties]
    _, late = await asyncio.wait(claiming, timeout=BURST_SECONDS)
    took, counted = max(seconds, default=0.0), len(seconds)
    say_step(f"{counted} of {len(duties)} workers that claim at once have jobs after {took:.1f} s")
    figures = summary(seconds)
    await asyncio.gather(*late)
    await asyncio.gather(*(calls.call(partial(each.release, job.lease.lease)) for each, job in held))
    return {"workers": len(duties), "claimed": counted, "seconds": took, "failed": failed} | figures


async def _steady(
    times: Times,
    evidence: Evidence,
    polls: Polls,
    pool: ProcessPoolExecutor,
    seconds: float,
) -> dict[str, Any]:
    """Watch the workers for so many seconds, with clients that poll beside them."""
    waits: Counter[str] = Counter()
    watching = asyncio.create_task(evidence.watch(waits))
    claims_before, valkey, api = evidence.claims(), evidence.seconds_of_valkey(), polls.seconds_of_the_api()
    before, began, loop = evidence.now(), time.monotonic(), asyncio.get_running_loop()
    mixed = [request for requests in zip(*polls.requests.values(), strict=True) for request in requests]
    answered = await loop.run_in_executor(pool, poll, polls.port, mixed, seconds)
    cost, took = evidence.since(before), time.monotonic() - began
    duties = {name: summary(each) for name, each in times.seconds.items()}
    late, claimed = summary(times.late), dict(times.projects)
    watching.cancel()
    samples = waits.pop("samples", 1)
    return {
        "seconds": took,
        "duties": duties,
        "late": late,
        "per_second": {name: len(each) / took for name, each in times.seconds.items()},
        "polls": summary(answered.latencies) | {"statuses": dict(answered.statuses)},
        "projects_that_claimed": len(claimed),
        "failed": dict(times.failed),
        "postgres_cores": cost.postgres / took,
        "driver_cores": cost.driver / took,
        "api_cores": (polls.seconds_of_the_api() - api) / took,
        "valkey_cores": (evidence.seconds_of_valkey() - valkey) / took,
        "log_bytes_per_second": cost.log_bytes / took,
        "busy_sessions": {name: count / samples for name, count in waits.most_common(TO_SHOW)},
        "claims_before": claims_before,
        "claims_after": evidence.claims(),
    }
