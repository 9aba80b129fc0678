"""Train one LoRA with TRL's SFTTrainer, and write time and memory. Runs in TRL's own environment.

    .bench-venvs/trl/bin/python -m bench.peers.trl_sft --base DIR --data rows.jsonl \
        --batch-size 8 --mode tuned --out result.json

`defaults` is TRL without any options: it loads the base in fp32, even if its files hold another type, uses
bf16 autocast, and recomputes every block in the backward pass. `tuned` loads the base in the type in which
this machine multiplies faster, keeps the activations, and accumulates a step's gradient row by row. Start it
with the allocator settings that `bench/train.py` passes.
"""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer
from trl import SFTConfig, SFTTrainer

from bench.peers.measuring import (
    UNLABELLED,
    Row,
    Task,
    Tokens,
    count_tokens,
    read_rows,
    require_equal,
    task_from_arguments,
)
from bench.peers.transformers_trainer import (
    common_options,
    faster_type,
    lora_config,
    measure,
    row_by_row,
    write_result,
)


def settings_of(task: Task) -> dict[str, Any]:
    """Return SFTConfig's fields for the task's mode and overrides. Both modes take the same rows per step."""
    if task.mode == "defaults":
        return {"per_device_train_batch_size": task.batch_size} | task.overrides
    dtype = faster_type()
    tuned = {
        "model_init_kwargs": {"dtype": dtype, "attn_implementation": "eager"},
        "bf16": dtype == "bfloat16",
        "gradient_checkpointing": False,
    }
    return tuned | row_by_row(task) | task.overrides


def as_prompt_and_completion(rows: list[Row]) -> Dataset:
    """Return rows in TRL's conversational prompt-completion form: its loss covers the completion only."""
    split = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows]
    return Dataset.from_list(split)


def require_same_tokens(trained: Dataset, expected: Tokens) -> None:
    require_equal("tokens", sum(len(row["input_ids"]) for row in trained), expected.total)
    supervised = sum(label != UNLABELLED for row in trained for label in row["labels"])
    require_equal("answer tokens", supervised, expected.answers)


def main() -> None:
    task = task_from_arguments(__doc__)
    rows = read_rows(task.data)
    settings = settings_of(task)
    with tempfile.TemporaryDirectory() as folder:
        options = common_options(task, len(rows), folder) | {"max_length": None}
        trainer = SFTTrainer(
            model=str(task.base),
            args=SFTConfig(**options | settings),
            train_dataset=as_prompt_and_completion(rows),
            processing_class=AutoTokenizer.from_pretrained(task.base),
            peft_config=lora_config(task.rank),
        )
        measured = measure(trainer, task)
    tokens = count_tokens(task.base, rows)  # counted here, so that it does not add to the first step
    require_same_tokens(trainer.train_dataset, tokens)
    write_result(trainer, task, tokens, tokens.answers, "trl", settings, measured)


if __name__ == "__main__":
    main()
