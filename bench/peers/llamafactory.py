"""Train one LoRA with LLaMA-Factory's command line and write what it took. Runs in its own environment.

    .bench-venvs/llamafactory/bin/python bench/peers/llamafactory.py --base DIR --data rows.jsonl \
        --batch-size 8 --mode tuned --out result.json

The training is a child process, as a user would start it; it inherits this one's environment. `defaults` is
LLaMA-Factory's own configuration in bf16, which recomputes every block in the backward pass. `tuned` keeps
the activations and accumulates a step's gradient row by row: no row is padded to another's length, and the
update is the same. Start it with the allocator settings that `bench/train.py` passes.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import yaml
from measuring import (
    SEED,
    TARGET_MODULES,
    Result,
    Row,
    Task,
    count_tokens,
    read_rows,
    recorded_environment,
    require_equal,
    task_from_arguments,
    versions_of,
)

TRAINING_BEGINS = "***** Running training *****"


def settings_of(task: Task) -> dict[str, Any]:
    """YAML entries for the task's mode, then its overrides. Both take the same rows per step."""
    if task.mode == "defaults":
        return {"per_device_train_batch_size": task.batch_size} | task.overrides
    tuned = {
        "disable_gradient_checkpointing": True,
        "flash_attn": "disabled",  # the plain attention: at these lengths the fused one is slower on a CPU
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


def configuration(task: Task, folder: Path, longest_row: int) -> dict[str, Any]:
    """The YAML's contents. Without `template`, LLaMA-Factory reads the base's own chat template."""
    return {
        "stage": "sft",
        "do_train": True,
        "model_name_or_path": str(task.base),
        "dataset_dir": str(folder),
        "dataset": "rows",
        "cutoff_len": max(2048, longest_row),
        "output_dir": str(folder / "output"),
        "finetuning_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.0,
        "lora_target": ",".join(TARGET_MODULES),
        "bf16": True,
        "use_cpu": not torch.cuda.is_available(),  # bf16 is refused on a CPU without it
        "num_train_epochs": 1.0,
        "learning_rate": 2e-4,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,  # below one it is a share of the run
        "max_grad_norm": 1.0,
        "disable_shuffling": True,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "include_num_input_tokens_seen": "non_padding",  # every log entry then has train_runtime too
        "seed": SEED,
    }


def train(config: Path) -> tuple[float, str]:
    """Run the command line; return the seconds until its training began, and what it had printed by then."""
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
    return began - started, preparation


def supervised_tokens_of_first_row(printed: str) -> int:
    """LLaMA-Factory prints its first example before training; count the labels that are not masked."""
    labels = re.search(r"label_ids:\s*(\[.*?\])", printed, re.DOTALL)
    if labels is None:
        raise SystemExit("LLaMA-Factory no longer prints its first example: its labels cannot be checked")
    return sum(label != -100 for label in json.loads(labels[1]))


def main() -> None:
    task = task_from_arguments(__doc__)
    rows = read_rows(task.data)
    settings = settings_of(task)
    tokens = count_tokens(task.base, rows)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_dataset(folder, rows)
        config = folder / "train.yaml"
        config.write_text(yaml.safe_dump(configuration(task, folder, max(tokens.per_row)) | settings))
        seconds_to_first_step, printed = train(config)
        state = json.loads((folder / "output" / "trainer_state.json").read_text())

    supervised = supervised_tokens_of_first_row(printed)
    require_equal("answer tokens of the first row", supervised, tokens.answers_per_row[0])
    require_equal("tokens", int(state["num_input_tokens_seen"]), tokens.total)
    *steps, whole_run = state["log_history"]
    marks = [0.0, *(step["train_runtime"] for step in steps)]
    Result(
        peer="llamafactory",
        mode=task.mode,
        rows=len(rows),
        batch_size=task.batch_size,
        real_tokens=tokens.total,
        answer_tokens=tokens.answers,
        train_seconds=whole_run["train_runtime"],
        step_seconds=[after - before for before, after in pairwise(marks)],
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
        seconds_to_first_step=seconds_to_first_step,
        losses=[step["loss"] for step in steps],
        settings=settings,
        environment=recorded_environment(),
        versions=versions_of("llamafactory", "transformers", "peft", "torch", "accelerate"),
    ).write(task.out)


if __name__ == "__main__":
    main()
