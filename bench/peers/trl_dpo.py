"""Train one LoRA on pairs with TRL's DPOTrainer, and write time and memory. Runs in TRL's own environment.

    .bench-venvs/trl/bin/python -m bench.peers.trl_dpo --base DIR --data pairs.jsonl \
        --batch-size 8 --mode tuned --out result.json

The modes are those of `trl_sft.py`. In `tuned`, a step's gradient is accumulated pair by pair. In both modes
the reference model is the model without its adapter, computed with each batch.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from typing import Any

from datasets import Dataset
from transformers import AutoTokenizer
from trl import DPOConfig, DPOTrainer

from bench.peers.measuring import (
    BETA,
    PAIR_LEARNING_RATE,
    Row,
    Task,
    Tokens,
    count_tokens,
    read_conversations,
    require_equal,
    task_from_arguments,
)
from bench.peers.transformers_trainer import common_options, lora_config, measure, write_result
from bench.peers.trl_sft import settings_of


def as_preference(pair: Row) -> dict[str, Any]:
    """Return a pair in TRL's conversational form, in which the prompt is a field of its own."""
    answers = {"chosen": pair["preferred_output"], "rejected": pair["non_preferred_output"]}
    return {"prompt": pair["input"]["messages"], **answers}


def require_same_tokens(trained: Dataset, expected: Tokens) -> None:
    answers = sum(len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in trained)
    require_equal("tokens", sum(2 * len(row["prompt_ids"]) for row in trained) + answers, expected.total)
    require_equal("answer tokens", answers, expected.answers)


def main() -> None:
    task: Task = task_from_arguments(__doc__)
    pairs = [json.loads(line) for line in task.data.read_text().split("\n") if line.strip()]
    settings = settings_of(replace(task, batch_size=task.batch_size // 2))
    with tempfile.TemporaryDirectory() as folder:
        options = common_options(task, 2 * len(pairs), folder, PAIR_LEARNING_RATE)
        trainer = DPOTrainer(
            model=str(task.base),
            args=DPOConfig(**options | {"max_length": None, "beta": BETA} | settings),
            train_dataset=Dataset.from_list([as_preference(pair) for pair in pairs]),
            processing_class=AutoTokenizer.from_pretrained(task.base),
            peft_config=lora_config(task.rank),
        )
        measured = measure(trainer, task)
    tokens = count_tokens(
        task.base, read_conversations(task.data)
    )  # counted here, so that it does not add to the first step
    require_same_tokens(trainer.train_dataset, tokens)
    write_result(trainer, task, tokens, tokens.answers, "trl", settings, measured, PAIR_LEARNING_RATE)


if __name__ == "__main__":
    main()
