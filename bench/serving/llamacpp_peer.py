"""llama.cpp on the same prompts, without adapters, by the wheel `xllamacpp`.

    .bench-venvs/xllamacpp/bin/python -m bench.serving.llamacpp_peer MODEL.gguf PROMPTS.json --new 48

It runs in an environment of its own, so it uses the standard library beside the wheel. PROMPTS.json is a list
of lists of tokens. One prompt after the other is answered, then all at once in as many slots.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xllamacpp

SINGLE = 6
SLOTS = 16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    prompts = json.loads(given.prompts.read_text())
    one = serve(given.model, given.threads, 1)
    rates = [answer(one, prompt, given.new) for prompt in prompts[: SINGLE + 1]][1:]
    found = {
        "tokens_per_second": given.new * len(rates) / sum(seconds for seconds, _ in rates),
        "decoded_per_second": statistics.median(rate for _, rate in rates),
    }
    del one
    many = serve(given.model, given.threads, SLOTS)
    with ThreadPoolExecutor(SLOTS) as pool:
        begun = time.perf_counter()
        list(pool.map(lambda prompt: answer(many, prompt, given.new), prompts[:SLOTS]))
        found["together_tokens_per_second"] = given.new * SLOTS / (time.perf_counter() - begun)
    print(json.dumps(found), flush=True)


def serve(model: Path, threads: int, slots: int) -> Any:
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.n_parallel, params.n_ctx = slots, 1024 * slots
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    params.warmup = True
    return xllamacpp.Server(params)


def answer(server: Any, prompt: list[int], new: int) -> tuple[float, float]:
    """Return the seconds that an answer takes, and the tokens a second after the first."""
    asked = {"prompt": prompt, "n_predict": new, "temperature": 0, "ignore_eos": True, "cache_prompt": False}
    begun = time.perf_counter()
    made = server.handle_completions(asked)
    return time.perf_counter() - begun, made["timings"]["predicted_per_second"]


if __name__ == "__main__":
    main()
