"""Compares steps on a model with experts with those of transformers and PEFT, in one run on this machine.

    python -m bench.experts [--tokens 256] [--rows 8] [--steps 3]

The model has random weights: half a billion, in 64 experts a layer, of which a token takes 8. Both sides
train a LoRA of rank 8 on all linear layers and all experts, on the same rows, with AdamW. transformers takes
one row after the other, because a batch would be padded.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel
from transformers import AutoModelForCausalLM, Qwen3MoeConfig

from core.catalog import BaseModelEntry
from core.jobs.spec import Hyperparameters, JobSpec, LoraAdapter
from tests.fixtures.models.tiny import save_model
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row

RANK = 8
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj"]
PARAMETERS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]


def config() -> Qwen3MoeConfig:
    return Qwen3MoeConfig(
        vocab_size=8192,
        hidden_size=768,
        num_hidden_layers=8,
        num_attention_heads=12,
        num_key_value_heads=4,
        head_dim=64,
        num_experts=64,
        num_experts_per_tok=8,
        moe_intermediate_size=384,
        max_position_embeddings=4096,
    )


def rows_of(count: int, length: int) -> list[Row]:
    random = np.random.default_rng(0)
    return [
        Row(line, random.integers(3, 300, length).astype(np.int32), np.arange(length) > 0)
        for line in range(count)
    ]


def seconds(step: Callable[[], object], steps: int) -> float:
    """Return the seconds of a step, after one that is not counted."""
    step()
    started = time.perf_counter()
    for _ in range(steps):
        step()
    return (time.perf_counter() - started) / steps


def entry(folder: Path) -> BaseModelEntry:
    return BaseModelEntry(
        id="experts",
        repository="bench/experts",
        source="folder",
        path=folder,
        revision="1",
        license="MIT",
        max_length=4096,
    )


def ours(folder: Path, rows: list[Row], steps: int) -> float:
    base = ResidentBase(entry(folder), folder, "0" * 64, torch.device("cpu"))
    hyperparameters = Hyperparameters(n_epochs=50, batch_size=len(rows), learning_rate_multiplier=1.0)
    spec = JobSpec(base_model="experts", seed=1, hyperparameters=hyperparameters, adapter=LoraAdapter(r=RANK))
    trainee = Trainee(TrainableAdapter(base, "job", spec.low_rank, 1, 50), spec, rows)
    context = PassContext(base, max_tokens=2048)
    return seconds(lambda: train_round(context, [trainee]), steps)


def theirs(folder: Path, rows: list[Row], steps: int) -> float:
    dtype = torch.bfloat16 if torch.cpu.get_capabilities().get("avx512_bf16") else torch.float32
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
    adapter = LoraConfig(r=RANK, lora_alpha=32, target_modules=LINEAR, target_parameters=PARAMETERS)
    model: Any = PeftModel(base, adapter)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=2e-4)

    def step() -> None:
        for row in rows:
            tokens = torch.from_numpy(row.tokens_L).long()
            logits = model(input_ids=tokens[None], use_cache=False).logits[0, :-1]
            (F.cross_entropy(logits.float(), tokens[1:]) / len(rows)).backward()
        optimizer.step()
        optimizer.zero_grad()

    return seconds(step, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=256, help="of a row")
    parser.add_argument("--rows", type=int, default=8, help="of a step")
    parser.add_argument("--steps", type=int, default=3)
    asked = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        save_model(config(), folder)
        rows = rows_of(asked.rows, asked.tokens)
        tokens = asked.rows * asked.tokens
        for who, measured in (("tunery", ours), ("transformers and PEFT", theirs)):
            taken = measured(folder, rows, asked.steps)
            print(f"{who}: {tokens / taken:,.0f} tokens/s, {taken:.1f} s a step", flush=True)


if __name__ == "__main__":
    main()
