"""Measures many workers at once: first all of them claim at the same moment, then they work side by side."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from bench.scale.progress import say_step
from bench.scale.workers import jobs
from bench.scale.workers.coroutines import Coroutines
from bench.scale.workers.duties import Duties
from bench.scale.workers.evidence import Evidence
from bench.scale.workers.figures import summary
from bench.scale.workers.polls import Polls, poll
from bench.scale.workers.rates import Rates
from bench.scale.workers.worker import Times, Worker

TO_SHOW = 6  # kinds of waits


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
    """Let the workers claim, work for so many seconds, and stop. Return what was measured."""
    times = Times()
    workers = [Worker(each, calls, rates, times) for each in duties]
    began = time.monotonic()
    running = [asyncio.create_task(each.run()) for each in workers]
    await asyncio.gather(*(each.has_claimed.wait() for each in workers))
    found: dict[str, Any] = {"workers": len(workers), "all_claimed_seconds": time.monotonic() - began}
    found["first_claims"] = summary(times.seconds["claim"])
    say_step(f"{len(workers)} workers have claimed after {found['all_claimed_seconds']:.1f} s")
    times.clear()
    found |= await _steady(times, evidence, polls, pool, seconds)
    shares = await calls.call(lambda: jobs.running(calls.sessions, projects))
    found["running_by_project"] = {"least": min(shares.values()), "most": max(shares.values())}
    for each in workers:
        each.stop()
    await asyncio.gather(*running)
    return found


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
