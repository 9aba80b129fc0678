"""The parts that all peers based on Hugging Face's Trainer share: options, a meter, and the result."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import psutil
import torch
from peft import LoraConfig
from transformers import Trainer, TrainerCallback

from bench.peers.measuring import (
    LEARNING_RATE,
    MAX_GRAD_NORM,
    SEED,
    TARGET_MODULES,
    Result,
    Task,
    Tokens,
    peak_bytes,
    recorded_environment,
    require_schedule,
    steps_of,
    versions_of,
    warmup_steps,
)


class Meter(TrainerCallback):
    """Records the start and each step's end, in seconds since the epoch, and counts computed tokens."""

    def __init__(self) -> None:
        self.marks: list[float] = []
        self.computed_tokens = 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        self.marks.append(time.time())

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.marks.append(time.time())

    def count(self, _model: Any, _inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        """Count tokens, as a hook before the model's forward pass."""
        self.computed_tokens += named["input_ids"].numel()


def common_options(task: Task, rows: int, folder: str, peak: float = LEARNING_RATE) -> dict[str, Any]:
    """Return the fields of TrainingArguments that both modes share."""
    return {
        "output_dir": folder,
        "use_cpu": not torch.cuda.is_available(),  # without it, bf16 is refused on a CPU
        "num_train_epochs": 1,
        "learning_rate": peak,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup_steps(steps_of(rows, task.batch_size)),
        "max_grad_norm": MAX_GRAD_NORM,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "seed": SEED,
    }


def row_by_row(task: Task) -> dict[str, Any]:
    """Accumulate a step's gradient from single rows: nothing is padded, and the update is the same."""
    return {"per_device_train_batch_size": 1, "gradient_accumulation_steps": task.batch_size}


def faster_type() -> Literal["bfloat16", "float32"]:
    """Return the type in which this machine multiplies matrices faster. Some CPUs with bf16 are slower in it.

    The matrices are small, because this time counts for the peer's first step.
    """
    if torch.cuda.is_available():
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"

    def seconds(dtype: torch.dtype) -> float:
        left, right = torch.ones(512, 512, dtype=dtype), torch.ones(512, 512, dtype=dtype)
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            left @ right
            taken.append(time.perf_counter() - began)
        return min(taken)

    return "bfloat16" if seconds(torch.bfloat16) < seconds(torch.float32) else "float32"


def lora_config(rank: int) -> LoraConfig:
    return LoraConfig(
        task_type="CAUSAL_LM", r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=TARGET_MODULES
    )


def measure(trainer: Trainer, task: Task) -> tuple[dict[str, Any], Meter]:
    """Train and save the adapter. Returns the measured fields of a Result, and the meter."""
    born = psutil.Process().create_time()
    meter = Meter()
    trainer.add_callback(meter)
    trainer.model.register_forward_pre_hook(meter.count, with_kwargs=True)
    train_seconds = trainer.train().metrics["train_runtime"]
    save(trainer, task.adapter)
    figures = {
        "train_seconds": train_seconds,
        "step_seconds": [after - before for before, after in pairwise(meter.marks)],
        "peak_bytes": peak_bytes(),
        "seconds_to_first_step": meter.marks[1] - born,
        "seconds_to_adapter": time.time() - born,
    }
    return figures, meter


def save(trainer: Trainer, folder: Path | None) -> None:
    if folder is not None:
        trainer.model.save_pretrained(folder)


def write_result(
    trainer: Trainer,
    task: Task,
    tokens: Tokens,
    answer_tokens: int,
    peer: str,
    settings: dict[str, Any],
    measured: tuple[dict[str, Any], Meter],
    peak: float = LEARNING_RATE,
) -> None:
    """Write the result file. Exits if the number of steps or the learning rates are not as required."""
    figures, meter = measured
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    rows = len(tokens.per_row)
    require_schedule([step["learning_rate"] for step in steps], steps_of(rows, task.batch_size), peak)
    Result(
        peer=peer,
        mode=task.mode,
        rows=rows,
        batch_size=task.batch_size,
        rank=task.rank,
        real_tokens=tokens.total,
        computed_tokens=meter.computed_tokens,
        answer_tokens=answer_tokens,
        losses=[step["loss"] for step in steps],
        settings=settings,
        environment=recorded_environment(),
        versions=versions_of("unsloth", "trl", "transformers", "peft", "torch", "accelerate"),
        **figures,
    ).write(task.out)
