"""Time a token of one stream in C and by the plain twin, on base models with random weights.

    python -m bench.serving.step                        # prints milliseconds of the processor for a token

The base models have the sizes of Qwen 2.5 0.5 B, Qwen 3 0.6 B and Gemma 3 270 M with fewer layers and a
vocabulary of 49,152, in bf16. Both compute the same request in one process on one thread, and take turns step
by step, so that other work slows both.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from bench.command_line import add_models, new_parser, positive
from bench.serving.ours import request
from bench.serving.workload import prompts, write_adapter
from core.catalog import SMOLLM2
from worker.base_models.model_store import ensure_model
from worker.engine.base.base_model import ResidentBase
from worker.engine.sampler.fast.native.step import NativeStep
from worker.engine.sampler.sampler import Limits, Sampler

SIZES: dict[str, dict[str, Any]] = {
    "Qwen2": {
        "hidden_size": 896, "intermediate_size": 4864, "num_attention_heads": 14, "num_key_value_heads": 2,
    },
    "Qwen3": {
        "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 8,
        "head_dim": 128,
    },
    "Gemma3Text": {
        "hidden_size": 640, "intermediate_size": 2048, "num_attention_heads": 4, "num_key_value_heads": 1,
        "head_dim": 256, "sliding_window": 64,
    },
}  # fmt: skip
VOCABULARY = 49_152  # SmolLM2's, whose tokenizer the models have


def random_base(architecture: str, layers: int, models: Path, scratch: Path) -> ResidentBase:
    """Make a base model of the architecture with random weights."""
    config = getattr(transformers, f"{architecture}Config")(
        **SIZES[architecture], num_hidden_layers=layers, vocab_size=VOCABULARY, max_position_embeddings=2048,
        tie_word_embeddings=True,
    )  # fmt: skip
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).save_pretrained(scratch)
    AutoTokenizer.from_pretrained(ensure_model(SMOLLM2, models)[0]).save_pretrained(scratch)
    return ResidentBase(SMOLLM2, scratch, "0" * 64, torch.device("cpu"))


def milliseconds(base: ResidentBase, adapter: Path | None, new: int) -> dict[str, float]:
    """Return the median time of the processor for one token, the prompt's step left out."""
    limits, (prompt,) = Limits(cache_bytes=64 << 20), prompts(base.tokenizer, 1, None)
    samplers = {"in C": Sampler(base, limits)}
    with patch.object(NativeStep, "for_pool", lambda *_: None):
        samplers["plain twin"] = Sampler(base, limits)
    times: dict[str, list[float]] = {name: [] for name in samplers}
    for sampler in samplers.values():
        sampler.submit(request("a", prompt[:64], adapter and sampler.load_adapter(adapter, "adapter"), new))
        sampler.step()
    while not any(sampler.idle for sampler in samplers.values()):
        for name, sampler in samplers.items():
            begun = time.process_time()
            sampler.step()
            times[name].append(1e3 * (time.process_time() - begun))
    return {name: statistics.median(each) for name, each in times.items()}


def main() -> None:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--layers", type=positive, default=8, help="of each base model (default 8)")
    parser.add_argument("--new", type=positive, default=48, help="new tokens (default 48)")
    given: argparse.Namespace = parser.parse_args()
    torch.set_num_threads(1)
    for architecture in SIZES:
        with tempfile.TemporaryDirectory() as scratch:
            base = random_base(architecture, given.layers, given.models, Path(scratch) / "base")
            adapter = write_adapter(base, Path(scratch) / "adapter", 0)
            for name, folder in {"base": None, "LoRA": adapter}.items():
                found = {key: round(ms, 1) for key, ms in milliseconds(base, folder, given.new).items()}
                print(architecture, name, found, flush=True)


if __name__ == "__main__":
    main()
