"""llama.cpp on the same prompts, by the wheel `xllamacpp`: one stream, and all prompts in slots at once.

    python -m bench.serving.llamacpp_peer MODEL.gguf PROMPTS.json --new 48

It runs in a process of its own. PROMPTS.json is a list of lists of tokens: AT_ONCE of them are answered at
once, and the SINGLE behind them one after the other. Answers are greedy and no prompt is cached.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import xllamacpp

from bench.command_line import new_parser, positive

AT_ONCE, SINGLE = 16, 6
ROOM = 768  # tokens of a slot
servers: list[Any] = []  # a server ends with its object


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--new", type=positive, default=48)
    parser.add_argument("--threads", type=positive, default=2)
    given = parser.parse_args()
    print(json.dumps(measured(given)), flush=True)
    os._exit(0)  # a server that is left would hold the process up


def measured(given: argparse.Namespace) -> dict[str, float]:
    prompts: list[list[int]] = json.loads(given.prompts.read_text())
    # One stream has a server of its own, because with more slots llama.cpp computes single tokens more slowly
    asked = partial(answer, started(given, slots=1), new=given.new)
    asked(prompts[0])  # warms up
    single, long = prompts[AT_ONCE : AT_ONCE + SINGLE], prompts[AT_ONCE + SINGLE :]
    found = rates("one_stream", given.new * SINGLE, lambda: [*map(asked, single)])
    tokens = sum(map(len, long))
    found |= rates("prompt", tokens, lambda: [asked(prompt, new=1) for prompt in long])
    asked = partial(answer, started(given, slots=AT_ONCE), new=given.new)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        together = rates("together", given.new * AT_ONCE, lambda: [*pool.map(asked, prompts[:AT_ONCE])])
    return found | together


def rates(name: str, tokens: int, work: Callable[[], object]) -> dict[str, float]:
    """Do the work, and return its tokens in a second and in a second of the processor."""
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        f"{name}_tokens_per_second": tokens / (time.perf_counter() - begun),
        f"{name}_tokens_per_cpu_second": tokens / (time.process_time() - cpu),
    }


def started(given: argparse.Namespace, slots: int) -> httpx.Client:
    """Return a client of a server on the model."""
    params = xllamacpp.CommonParams()
    params.model.path = str(given.model)
    params.n_parallel, params.n_ctx, params.warmup = slots, slots * ROOM, False
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = given.threads
    server = xllamacpp.Server(params)
    servers.append(server)
    return httpx.Client(base_url=server.listening_address, timeout=600)


def answer(server: httpx.Client, prompt: list[int], new: int) -> None:
    asked = {"prompt": prompt, "n_predict": new, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    told = server.post("/completion", json=asked).raise_for_status().json()
    assert told["tokens_predicted"] == new, told


if __name__ == "__main__":
    main()
