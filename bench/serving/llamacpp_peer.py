"""llama.cpp on the same prompts, by the wheel `xllamacpp`: one stream, and all prompts in slots at once.

    python -m bench.serving.llamacpp_peer MODEL.gguf PROMPTS.json --new 48

It runs in a process of its own. PROMPTS.json is a list of lists of tokens: AT_ONCE of them are answered at
once, and the SINGLE behind them one after the other. Answers are greedy and no prompt is cached.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
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
    begun, cpu = time.perf_counter(), time.process_time()
    single = [asked(prompt) for prompt in prompts[AT_ONCE : AT_ONCE + SINGLE]]
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    long = [asked(prompt, new=1) for prompt in prompts[AT_ONCE + SINGLE :]]
    asked = partial(answer, started(given, slots=AT_ONCE), new=given.new)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = time.perf_counter()
        list(pool.map(asked, prompts[:AT_ONCE]))
        together = time.perf_counter() - begun
    return {
        "one_stream_tokens_per_second": given.new * SINGLE / seconds,
        "one_stream_tokens_per_cpu_second": given.new * SINGLE / cpu,
        "one_stream_decoded_per_second": statistics.median(each["predicted_per_second"] for each in single),
        "together_tokens_per_second": given.new * AT_ONCE / together,
        "prompt_tokens_per_second": statistics.median(each["prompt_per_second"] for each in long),
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


def answer(server: httpx.Client, prompt: list[int], new: int) -> dict[str, Any]:
    """Return llama.cpp's own timings of one answer."""
    asked = {"prompt": prompt, "n_predict": new, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    told = server.post("/completion", json=asked).raise_for_status().json()
    assert told["tokens_predicted"] == new, told
    return dict(told["timings"])


if __name__ == "__main__":
    main()
