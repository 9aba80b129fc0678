"""Train one LoRA with LLaMA-Factory's command line, and write time and memory. It has its own environment.

    .bench-venvs/llamafactory/bin/python -m bench.peers.llamafactory --base DIR --data rows.jsonl \
        --batch-size 8 --mode tuned --out result.json

The training is a child process, as a user would start it. It inherits the environment variables of this
process. `defaults` is LLaMA-Factory's own configuration in bf16, which recomputes every block in the backward
pass. `tuned` keeps the activations and accumulates a step's gradient row by row, so no row is padded to the
length of another row. The update is the same. Start it with the allocator settings that `bench/train.py`
passes.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.peers.measuring import (
    LEARNING_RATE,
    MAX_GRAD_NORM,
    SEED,
    TARGET_MODULES,
    UNLABELLED,
    Result,
    Row,
    Task,
    count_tokens,
    read_rows,
    recorded_environment,
    require_equal,
    require_schedule,
    steps_of,
    task_from_arguments,
    versions_of,
    warmup_steps,
)

CUTOFF_TOKENS = 8192  # longer than any row, so that no row is cut
PADDED_TO = 8  # its collator pads a batch to a multiple of so many tokens
TRAINING_BEGINS = "***** Running training *****"


def settings_of(task: Task) -> dict[str, Any]:
    """Return the YAML entries for the task's mode and overrides. Both modes take the same rows per step."""
    if task.mode == "defaults":
        return {"per_device_train_batch_size": task.batch_size} | task.overrides
    tuned = {
        "disable_gradient_checkpointing": True,
        "flash_attn": "disabled",  # plain attention: at these lengths, fused attention is slower on a CPU
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": task.batch_size,
    }
    return tuned | task.overrides


def write_dataset(folder: Path, rows: list[Row]) -> None:
    (folder / "rows.json").write_text(json.dumps([{"messages": row["messages"]} for row in rows]))
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user"}
    tags |= {"assistant_tag": "assistant", "system_tag": "system"}
    columns = {"messages": "messages"}
    entry = {"file_name": "rows.json", "formatting": "sharegpt", "columns": columns, "tags": tags}
    (folder / "dataset_info.json").write_text(json.dumps({"rows": entry}))


def configuration(task: Task, folder: Path, rows: int) -> dict[str, Any]:
    """Return the YAML's contents. Without `template`, LLaMA-Factory uses the base's own chat template."""
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(task.base),
        "dataset_dir": str(folder),
        "dataset": "rows",
        "cutoff_len": CUTOFF_TOKENS,
        "output_dir": str(folder / "output"),
        "finetuning_type": "lora",
        "lora_rank": task.rank,
        "lora_alpha": 2 * task.rank,
        "lora_dropout": 0.0,
        "lora_target": ",".join(TARGET_MODULES),
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),  # without it, bf16 is refused on a CPU
        "num_train_epochs": 1.0,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "cosine",
        "warmup_steps": warmup_steps(steps_of(rows, task.batch_size)),
        "max_grad_norm": MAX_GRAD_NORM,
        "disable_shuffling": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "include_num_input_tokens_seen": "non_padding",  # every log entry then has train_runtime too
        "seed": SEED,
    }


@dataclass(frozen=True)
class Command:
    """A finished run of the command line. All times are in seconds from its start."""

    training_began: float
    ended: float
    printed_before: str
    """The text that it had printed when its training began."""


def train(config: Path) -> Command:
    """Run the command line to its end. Exits with its last lines if it fails."""
    command = [str(Path(sys.executable).parent / "llamafactory-cli"), "train", str(config)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
    started, began = time.time(), 0.0
    lines: list[str] = []
    preparation = ""
    with subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as child:
        assert child.stdout is not None
        for line in child.stdout:
            lines.append(line)
            if TRAINING_BEGINS in line:
                began, preparation = time.time(), "".join(lines)
    if child.returncode != 0 or not began:
        raise SystemExit("".join(lines[-40:]) + f"llamafactory-cli ended with status {child.returncode}")
    return Command(began - started, time.time() - started, preparation)


def computed_tokens(per_row: list[int], batch: int) -> int:
    """Count the tokens with padding: each batch to its longest row, rounded up to a multiple of PADDED_TO."""
    batches = [per_row[start : start + batch] for start in range(0, len(per_row), batch)]
    return sum(len(rows) * -(-max(rows) // PADDED_TO) * PADDED_TO for rows in batches)


def supervised_tokens_of_first_row(printed: str) -> int:
    """Count the unmasked labels of the first example, which LLaMA-Factory prints before training."""
    labels = re.search(r"label_ids:\s*(\[.*?\])", printed, re.DOTALL)
    if labels is None:
        raise SystemExit("LLaMA-Factory no longer prints its first example, so its labels cannot be checked")
    return sum(label != UNLABELLED for label in json.loads(labels[1]))


def save(output: Path, folder: Path | None) -> None:
    """Copy only the adapter from the output of the command line."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for file in output.glob("adapter_*"):
            shutil.copy(file, folder)


def main() -> None:
    task = task_from_arguments(__doc__)
    rows = read_rows(task.data)
    settings = settings_of(task)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder, rows)
        config = folder / "train.yaml"
        config.write_text(yaml.safe_dump(configuration(task, folder, len(rows)) | settings))
        command = train(config)
        state = json.loads((folder / "output" / "trainer_state.json").read_text())
        save(folder / "output", task.adapter)

    tokens = count_tokens(task.base, rows)
    supervised = supervised_tokens_of_first_row(command.printed_before)
    require_equal("answer tokens of the first row", supervised, tokens.answers_per_row[0])
    require_equal("tokens", int(state["num_input_tokens_seen"]), tokens.total)
    *steps, whole_run = state["log_history"]
    require_schedule([step["learning_rate"] for step in steps], steps_of(len(rows), task.batch_size))
    marks = [0.0, *(step["train_runtime"] for step in steps)]
    Result(
        peer="llamafactory",
        mode=task.mode,
        rows=len(rows),
        batch_size=task.batch_size,
        rank=task.rank,
        real_tokens=tokens.total,
        computed_tokens=computed_tokens(tokens.per_row, settings["per_device_train_batch_size"]),
        answer_tokens=tokens.answers,
        train_seconds=whole_run["train_runtime"],
        step_seconds=[after - before for before, after in pairwise(marks)],
        peak_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        seconds_to_first_step=command.training_began + marks[1],
        seconds_to_adapter=command.ended,
        losses=[step["loss"] for step in steps],
        settings=settings,
        environment=recorded_environment(),
        versions=versions_of("llamafactory", "transformers", "peft", "torch", "accelerate"),
    ).write(task.out)


if __name__ == "__main__":
    main()
