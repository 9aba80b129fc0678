"""Train one LoRA with TRL's SFTTrainer and write what it took. Runs in TRL's own environment.

    .bench-venvs/trl/bin/python bench/peers/trl_sft.py --base DIR --data rows.jsonl \
        --batch-size 8 --mode tuned --out result.json

`defaults` is what TRL does when told nothing else: the base loaded in fp32 whatever its files hold, bf16
autocast over it, every block recomputed in the backward pass. `tuned` loads the base in bf16, keeps the
activations, and accumulates a step's gradient row by row: nothing is padded, and the update is the same.
Start it with the allocator settings that `bench/train.py` passes.
"""

from __future__ import annotations

import resource
import tempfile
import time
from itertools import pairwise
from typing import Any

import psutil
import torch
from datasets import Dataset
from measuring import (
    SEED,
    TARGET_MODULES,
    Result,
    Row,
    Task,
    Tokens,
    count_tokens,
    read_rows,
    recorded_environment,
    require_equal,
    task_from_arguments,
    versions_of,
)
from peft import LoraConfig
from transformers import AutoTokenizer, TrainerCallback
from trl import SFTConfig, SFTTrainer


def settings_of(task: Task) -> dict[str, Any]:
    """SFTConfig's fields for the task's mode, then its overrides. Both take the same rows per step."""
    if task.mode == "defaults":
        return {"per_device_train_batch_size": task.batch_size} | task.overrides
    tuned = {
        "model_init_kwargs": {"dtype": "bfloat16", "attn_implementation": "eager"},
        "gradient_checkpointing": False,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": task.batch_size,
    }
    return tuned | task.overrides


class StepClock(TrainerCallback):
    """Seconds since the epoch at the start of training and at the end of every step."""

    def __init__(self) -> None:
        self.marks: list[float] = []

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.marks.append(time.time())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.marks.append(time.time())


def as_prompt_and_completion(rows: list[Row]) -> Dataset:
    """TRL's conversational prompt-completion form, on which its loss covers the completion only."""
    split = [{"prompt": row["messages"][:-1], "completion": row["messages"][-1:]} for row in rows]
    return Dataset.from_list(split)


def require_same_tokens(trained: Dataset, expected: Tokens) -> None:
    require_equal("tokens", sum(len(row["input_ids"]) for row in trained), expected.total)
    supervised = sum(label != -100 for row in trained for label in row["labels"])
    require_equal("answer tokens", supervised, expected.answers)


def main() -> None:
    task = task_from_arguments(__doc__)
    rows = read_rows(task.data)
    settings = settings_of(task)
    with tempfile.TemporaryDirectory() as folder:
        options: dict[str, Any] = {
            "output_dir": folder,
            "use_cpu": not torch.cuda.is_available(),  # bf16 is refused on a CPU without it
            "num_train_epochs": 1,
            "learning_rate": 2e-4,
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.03,  # below one it is a share of the run
            "max_grad_norm": 1.0,
            "max_length": None,
            "train_sampling_strategy": "sequential",
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "seed": SEED,
        }
        clock = StepClock()
        trainer = SFTTrainer(
            model=str(task.base),
            args=SFTConfig(**options | settings),
            train_dataset=as_prompt_and_completion(rows),
            processing_class=AutoTokenizer.from_pretrained(task.base),
            peft_config=LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules=TARGET_MODULES),
            callbacks=[clock],
        )
        tokens = count_tokens(task.base, rows)
        require_same_tokens(trainer.train_dataset, tokens)
        train_seconds = trainer.train().metrics["train_runtime"]

    Result(
        peer="trl",
        mode=task.mode,
        rows=len(rows),
        batch_size=task.batch_size,
        real_tokens=tokens.total,
        answer_tokens=tokens.answers,
        train_seconds=train_seconds,
        step_seconds=[after - before for before, after in pairwise(clock.marks)],
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        seconds_to_first_step=clock.marks[0] - psutil.Process().create_time(),
        losses=[entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        settings=settings,
        environment=recorded_environment(),
        versions=versions_of("trl", "transformers", "peft", "torch", "accelerate"),
    ).write(task.out)


if __name__ == "__main__":
    main()
