"""The sampler's figures: tokens a second, time to the first token, and what another adapter costs."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.serving.workload import with_beginning
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.engine.sampler.requests import GenerationRequest, Sampling
from worker.engine.sampler.sampler import Sampler

AT_ONCE = 16
ZIPF_REQUESTS = 64
Asked = tuple[list[int], ServedAdapter | None]


def measure_one(
    sampler: Sampler, prompts: Sequence[list[int]], adapter: ServedAdapter | None, new: int
) -> dict[str, float]:
    """Answer prompts one after the other. Return tokens a second and the median time to the first token."""
    cpu = time.process_time()
    runs = [run(sampler, [(prompt, adapter)], new) for prompt in prompts]
    cpu = time.process_time() - cpu
    return {
        "tokens_per_cpu_second": sum(tokens for tokens, *_ in runs) / cpu,
        "tokens_per_second": sum(tokens for tokens, *_ in runs) / sum(seconds for _, seconds, _ in runs),
        "decoded_per_second": statistics.median(
            (tokens - 1) / (all_ - first) for tokens, all_, first in runs
        ),
        "first_token_ms": 1e3 * statistics.median(first for *_, first in runs),
    }


def measure_together(sampler: Sampler, asked: Sequence[Asked], new: int) -> dict[str, float]:
    """Answer requests, AT_ONCE of them at a time."""
    cpu = time.process_time()
    tokens, seconds, first = run(sampler, asked, new)
    return {
        "tokens_per_second": tokens / seconds,
        "tokens_per_cpu_second": tokens / (time.process_time() - cpu),
        "first_token_ms": 1e3 * first,
    }


def measure_zipf(
    sampler: Sampler, prompts: Sequence[list[int]], adapters: Sequence[ServedAdapter], new: int
) -> dict[str, float]:
    """Answer requests to adapters of which the nth is asked for in proportion to 1 / n."""
    weights = [1 / (n + 1) for n in range(len(adapters))]
    chosen = random.Random(1).choices(adapters, weights, k=ZIPF_REQUESTS)
    asked = [(prompts[n % len(prompts)], each) for n, each in enumerate(chosen)]
    found = measure_together(sampler, asked, new)
    return {**found, "adapters_asked": len({each.content_hash for each in chosen})}


def measure_swap(
    sampler: Sampler, prompt: list[int], adapters: Sequence[ServedAdapter], new: int
) -> dict[str, float]:
    """Return how much longer a decoding step takes with an adapter that was not the last one's.

    Two requests decode, each alone in its steps: one adapter is used again and again, then two in turn.
    """

    def steps(names: Sequence[ServedAdapter]) -> float:
        for n, each in enumerate(names):
            sampler.submit(request(f"{n}", prompt, each, new))
        times = []
        while not sampler.idle:
            begun = time.perf_counter()
            sampler.step()
            times.append(time.perf_counter() - begun)
        return statistics.median(times)

    same = min(steps([adapters[0]]) for _ in range(3))
    other = min(steps([each]) for each in adapters[1:4])
    return {"warm_swap_ms": 1e3 * (other - same)}


def measure_cold(sampler: Sampler, folders: Sequence[Path]) -> dict[str, float]:
    """Return how long an adapter takes from its files to the sampler, the network left out."""
    times = []
    for folder in folders:
        begun = time.perf_counter()
        sampler.load_adapter(folder, f"cold {folder.name}")
        times.append(time.perf_counter() - begun)
    return {"cold_load_ms": 1e3 * statistics.median(times)}


def measure_beginning(sampler: Sampler, prompts: Sequence[list[int]]) -> dict[str, float]:
    """Return the time to the first token behind a beginning that is not cached, and then is."""
    fresh, cached = [], []
    for number, prompt in enumerate(prompts):
        fresh.append(run(sampler, [(with_beginning(prompts[number - 1], number), None)], 1)[2])
        cached.append(run(sampler, [(with_beginning(prompt, number), None)], 1)[2])
    found = {"uncached_ms": 1e3 * statistics.median(fresh), "cached_ms": 1e3 * statistics.median(cached)}
    return {**found, "share": found["cached_ms"] / found["uncached_ms"]}


def measure_prompts(sampler: Sampler, prompts: Sequence[list[int]]) -> dict[str, float]:
    """Return the rate at which long prompts are computed one by one, without an adapter."""
    long = [with_beginning(prompt, number) for number, prompt in enumerate(prompts)]
    tokens, cpu = sum(map(len, long)), time.process_time()
    seconds = sum(run(sampler, [(prompt, None)], 1)[1] for prompt in long)
    return {
        "tokens_per_second": tokens / seconds,
        "tokens_per_cpu_second": tokens / (time.process_time() - cpu),
    }


def run(sampler: Sampler, asked: Sequence[Asked], new: int) -> tuple[int, float, float]:
    """Answer the requests, AT_ONCE at a time. Return tokens, seconds, and seconds to the first token."""
    waiting = [request(f"{n}", *each, new) for n, each in enumerate(asked)][::-1]
    begun, tokens, first = time.perf_counter(), 0, 0.0
    while waiting or not sampler.idle:
        while waiting and sampler.load.running + sampler.load.waiting < AT_ONCE:
            sampler.submit(waiting.pop())
        tokens += len(sampler.step())
        if tokens and not first:
            first = time.perf_counter() - begun
    return tokens, time.perf_counter() - begun, first


def request(name: str, prompt: list[int], adapter: Any, new: int) -> GenerationRequest:
    return GenerationRequest(name, prompt, Sampling(new, temperature=0, ignore_eos=True), adapter)
