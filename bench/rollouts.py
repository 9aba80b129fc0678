"""Rollouts on SmolLM2-135M-Instruct: tokens per second, and their gap to a training's log-probabilities.

    python -m bench.rollouts --base FOLDER [--dtype fp32] [--peer]

16 prompts get 8 answers each, with a random LoRA on all linear layers. The gap is the difference between the
log p that the sampler reports, and the log p of the same token in the forward pass of a training step, in
nats. With `--peer`, transformers and PEFT sample answers to the same prompts by `generate`, all at once.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, GenerationConfig

from bench.command_line import add_base, new_parser, positive
from core.catalog import SMOLLM2
from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.logprobs import logprobs_in_training
from tests.fixtures.engine.sampling import first_turns
from tests.fixtures.engine.training import make_spec
from worker.engine.adapters.adapter import Adapter
from worker.engine.adapters.attach import attach
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.rollouts import Generation, Sampled, generate_rollouts
from worker.rows.row import Row

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
STEP_TOKENS = 8192


def main() -> None:
    parser = new_parser(__doc__)
    add_base(parser)
    parser.add_argument("--dtype", choices=DTYPES, default="bf16")
    parser.add_argument("--prompts", type=positive, default=16)
    parser.add_argument("--count", type=positive, default=8, help="answers to each prompt (default 8)")
    parser.add_argument("--tokens", type=positive, default=64, help="the most of an answer (default 64)")
    parser.add_argument("--peer", action="store_true", help="let transformers and PEFT sample too")
    print(json.dumps(measured(parser.parse_args()), indent=2))


def measured(given: argparse.Namespace) -> dict[str, Any]:
    entry = SMOLLM2.model_copy(update={"dtype": given.dtype})
    base = ResidentBase(entry, given.base, "", torch.device("cpu"))
    adapter, prompts = random_adapter(base), prompts_of(base, given.prompts)
    asked = Generation(given.count, given.tokens, seed=1)
    generate_rollouts(
        base, adapter, first_turns(prompts[:1], Generation(1, 2, 1)), STEP_TOKENS
    )  # builds the step
    began, cpu = time.perf_counter(), time.process_time()
    sampled = generate_rollouts(base, adapter, first_turns(prompts, asked), STEP_TOKENS)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    made = sum(len(each.tokens) for each in sampled)
    began = time.perf_counter()
    trained = logprobs_in_training(base, adapter, sampled, STEP_TOKENS, with_gradient=False)
    found: dict[str, Any] = {
        "dtype": given.dtype,
        "load": os.getloadavg()[0],
        "tokens": made,
        "finished": sum(each.finished for each in sampled),
        "tokens_per_second": made / seconds,
        "tokens_per_cpu_second": made / cpu,
        "scoring_seconds": time.perf_counter() - began,
        "gap": gap(sampled, trained),
    }
    if given.peer:
        found["peer"] = of_peer(given, adapter, prompts)
    return found


def random_adapter(base: ResidentBase, far: float = 0.02) -> Adapter:
    """Return a LoRA of rank 16 on all linear layers whose factors are moved by random numbers."""
    adapter = attach(base, "random", make_spec(adapter=LoraAdapter(r=16, lora_alpha=32)))
    master = adapter.parameters.master
    with torch.no_grad():
        master.add_(torch.randn(master.shape, generator=torch.Generator().manual_seed(0)) * far)
    adapter.parameters.refresh()
    return adapter


def prompts_of(base: ResidentBase, count: int) -> list[Row]:
    """Return questions in the chat template, as rows that are prompts as a whole."""
    rows = []
    for line in range(1, count + 1):
        question = f"Add {17 * line % 90 + 10} and {29 * line % 90 + 10}, and explain each step."
        tokens = base.tokenizer.apply_chat_template(
            [{"role": "user", "content": question}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        rows.append(Row(line, np.array(tokens, np.int32), np.zeros(len(tokens), np.bool_)))
    return rows


def gap(sampled: Sequence[Sampled], trained: Sequence[np.ndarray]) -> dict[str, float]:
    """Return the gap's mean and largest value, and the share of tokens whose bits are equal."""
    of_sampler = np.concatenate([each.logprobs for each in sampled])
    gaps = np.abs(of_sampler - np.concatenate(trained))
    ranks = {f"p{rank}": float(np.percentile(gaps, rank)) for rank in (50, 99)}
    found = {"mean": gaps.mean(), **ranks, "max": gaps.max(), "equal": (gaps == 0).mean()}
    return {name: float(value) for name, value in found.items()} | {"entropy": float(-of_sampler.mean())}


def of_peer(given: argparse.Namespace, adapter: Adapter, prompts: Sequence[Row]) -> dict[str, float]:
    """Let transformers sample as many answers to all prompts at once, padded on the left."""
    with TemporaryDirectory() as folder:
        adapter.save(Path(folder))
        plain: Any = AutoModelForCausalLM.from_pretrained(given.base, dtype=DTYPES[given.dtype])
        model: Any = PeftModel.from_pretrained(plain, folder).eval()
    tokens = [prompt.tokens_L.tolist() for prompt in prompts]
    longest = max(map(len, tokens))
    ids = torch.tensor([[0] * (longest - len(each)) + each for each in tokens])
    mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in tokens])
    end = plain.generation_config.eos_token_id
    config = GenerationConfig(
        do_sample=True,
        max_new_tokens=given.tokens,
        num_return_sequences=given.count,
        eos_token_id=end,
        pad_token_id=0,
        top_k=0,
    )
    torch.manual_seed(0)
    began, cpu = time.perf_counter(), time.process_time()
    with torch.inference_mode():
        out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    made = int((out[:, longest:] != 0).sum())  # of the end token, only the first: pads follow
    return {"tokens": made, "tokens_per_second": made / seconds, "tokens_per_cpu_second": made / cpu}


if __name__ == "__main__":
    main()
