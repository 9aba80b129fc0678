"""Train one LoRA with transformers' Trainer and PEFT, and write time and memory. Runs in TRL's environment.

    .bench-venvs/trl/bin/python -m bench.peers.hf_trainer --base DIR --data rows.jsonl \
        --batch-size 8 --mode tuned --out result.json

This is the training script that the documentation of the two libraries leads to: it masks the prompt, and
pads rows to the longest row of their batch. `defaults` adds bf16 autocast to the defaults of Trainer. `tuned`
is TRL's tuned setting: plain attention, and a step's gradient accumulated row by row. Like Tunery, it does
not learn the line break after an answer.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments, set_seed

from bench.peers.measuring import UNLABELLED, Encoded, Task, Tokens, encode, read_rows, task_from_arguments
from bench.peers.transformers_trainer import (
    SEED,
    common_options,
    faster_type,
    lora_config,
    measure,
    row_by_row,
    write_result,
)


@dataclass(frozen=True)
class PadToLongest:
    """Makes a batch of rows. Each is padded at its end with `pad`, which is not attended to or learnt."""

    pad: int

    def __call__(self, rows: Sequence[Encoded]) -> dict[str, torch.Tensor]:
        longest = max(len(row.tokens) for row in rows)
        filled: dict[str, list[list[int]]] = {"input_ids": [], "attention_mask": [], "labels": []}
        for row in rows:
            length, missing = len(row.tokens), longest - len(row.tokens)
            filled["input_ids"].append(row.tokens + [self.pad] * missing)
            filled["attention_mask"].append([1] * length + [0] * missing)
            filled["labels"].append(row.labels + [UNLABELLED] * missing)
        return {name: torch.tensor(lists) for name, lists in filled.items()}


def settings_of(task: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options for loading the model and TrainingArguments' fields, by mode and overrides."""
    if task.mode == "defaults":
        return {}, {"bf16": True, "per_device_train_batch_size": task.batch_size} | task.overrides
    dtype = faster_type()
    load = {"dtype": dtype, "attn_implementation": "eager"}
    return load, {"bf16": dtype == "bfloat16"} | row_by_row(task) | task.overrides


def main() -> None:
    task = task_from_arguments(__doc__)
    encoded = encode(task.base, read_rows(task.data))
    load, settings = settings_of(task)
    set_seed(SEED)  # the adapter is made before Trainer sets the seed
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(task.base, **load), lora_config(task.rank))
    tokenizer = AutoTokenizer.from_pretrained(task.base)
    with tempfile.TemporaryDirectory() as folder:
        options = common_options(task, len(encoded), folder) | {"remove_unused_columns": False}
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**options | settings),
            train_dataset=encoded,
            data_collator=PadToLongest(tokenizer.pad_token_id),
        )
        measured = measure(trainer, task)
    learnt = [row.end - row.answer for row in encoded]
    tokens = Tokens([len(row.tokens) for row in encoded], learnt)
    shown = settings | {"from_pretrained": load}
    write_result(trainer, task, tokens, tokens.answers, "hf", shown, measured)


if __name__ == "__main__":
    main()
