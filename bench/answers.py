"""Chats on a base model with random weights: eight at once, and one after the other.

A rate is the number of generated tokens over a second of processor time, and includes the prompts.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from transformers import AutoModelForCausalLM, PretrainedConfig

from bench.pages.tables import markdown
from bench.random_model import CPU, RANK, row_of
from bench.serving.ours import Asked, run
from core.methods.low_rank import LoraAdapter
from tests.fixtures.engine.architectures import TINY
from tests.fixtures.engine.sampling import saved_adapter
from tests.fixtures.models.tiny import numbers
from worker.engine.base.base_model import ResidentBase
from worker.engine.base.loading import compute_dtype
from worker.engine.sampler.sampler import Sampler

CHATS, PROMPT, NEW = 8, 48, 32  # PROMPT and NEW are tokens
ON_LAYERS = LoraAdapter(r=RANK, target_parameters=[])
ON_EXPERTS = LoraAdapter(r=RANK)


def print_rates(config: PretrainedConfig, turns: int) -> None:
    """Print the best rates of `turns`: of chats with the base model, with one adapter, and with four."""
    with TemporaryDirectory() as folder:
        base = _written(config, Path(folder) / "base")
        names = {f"adapter-{number}": ON_EXPERTS if number % 2 else ON_LAYERS for number in range(4)}
        found = {
            name: Sampler(base).load_adapter(saved_adapter(base, each, Path(folder) / name), name)
            for name, each in names.items()
        }
        print(f"{base.dtype}, {base.decoder.path}\n")
        of_one, of_several = found["adapter-1"], [*found.values()]
        prompts = [row_of(PROMPT, seed, config.vocab_size).tokens_L.tolist() for seed in range(CHATS)]
        asked: Mapping[str, list[Asked]] = {
            "the base model": [(prompt, None) for prompt in prompts],
            "an adapter of layers and experts": [(prompt, of_one) for prompt in prompts],
            "four adapters, two of them of experts too": [
                (prompt, of_several[number % 4]) for number, prompt in enumerate(prompts)
            ],
        }
        rows = []
        for name, chats in asked.items():
            pairs = [(_rate(base, [[each] for each in chats]), _rate(base, [chats])) for _ in range(turns)]
            alone, together = map(max, zip(*pairs, strict=True))
            rows.append((name, f"{alone:.1f}", f"{together:.1f}", f"{together / alone:.2f}"))
        print(markdown(("eight chats with", "one after the other, tokens/s", "at once", "times"), rows))


def _written(config: PretrainedConfig, folder: Path) -> ResidentBase:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config, dtype=compute_dtype(CPU)).save_pretrained(folder)
    numbers().save_pretrained(folder)
    return ResidentBase(TINY.model_copy(update={"dtype": "auto"}), folder, "", CPU)


def _rate(base: ResidentBase, groups: Sequence[Sequence[Asked]]) -> float:
    """Answer the chats group by group, and return the tokens per second of processor time."""
    sampler, tokens = Sampler(base), 0
    began = time.process_time()
    for chats in groups:
        tokens += run(sampler, chats, NEW)[0]
    return tokens / (time.process_time() - began)
