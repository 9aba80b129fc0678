"""The prompts and the adapters that every server is measured on."""

from __future__ import annotations

import json
import random
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors.torch import save_file

from bench.training.workloads import SEED, first_lines, source_of, sql_questions
from worker.engine.base.base_model import ResidentBase

RANK, ALPHA = 16, 32
FAR = 0.01  # the deviation of B: large enough to change answers, small enough to leave them sensible
BEGINNING = 400  # tokens


def prompts(tokenizer: Any, count: int, data: Path | None) -> list[list[int]]:
    """Return the prompts of the first rows of text2sql as tokens, from DATA or generated."""
    source = source_of("text2sql", data) if data else None
    rows = (
        first_lines(data / source, 64)
        if source and data
        else [*islice(sql_questions(random.Random(SEED)), 64)]
    )
    made = [
        tokenizer.apply_chat_template(row["messages"][:-1], add_generation_prompt=True, return_dict=False)
        for row in rows
    ]
    return [list(each) for each in islice(cycle(made), count)]


def with_beginning(tokens: list[int], number: int) -> list[int]:
    """Put a beginning of BEGINNING tokens before a prompt, another one for each number."""
    chosen = random.Random(number)
    return [*(chosen.randrange(1000, 20_000) for _ in range(BEGINNING)), *tokens]


def write_adapter(base: ResidentBase, folder: Path, seed: int) -> Path:
    """Write a LoRA on all linear layers, with random values, as PEFT's two files."""
    random_ = torch.Generator().manual_seed(seed)
    tensors = {}
    for group in base.decoder.groups.values():
        for module, columns in group.columns.items():
            name = f"base_model.model.{module}"
            inputs, outputs = group.weight.shape[1], columns.stop - columns.start  # type: ignore[attr-defined]
            A = torch.randn(RANK, inputs, generator=random_) / inputs**0.5
            B = torch.randn(outputs, RANK, generator=random_) * FAR
            tensors[f"{name}.lora_A.weight"], tensors[f"{name}.lora_B.weight"] = A.bfloat16(), B.bfloat16()
    names = sorted({name.split(".")[-3] for name in tensors})
    config = LoraConfig(
        r=RANK, lora_alpha=ALPHA, target_modules=names, task_type="CAUSAL_LM", inference_mode=True
    )
    config.base_model_name_or_path = base.entry.repository
    folder.mkdir(parents=True)
    config.save_pretrained(str(folder))
    save_file(tensors, folder / "adapter_model.safetensors")
    return folder


def write_json(file: Path, found: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(found, indent=2) + "\n")
