"""Train one LoRA with Tunery's engine and write what it took: our side of `bench/train.py`.

    python bench/engine.py --base DIR --data rows.jsonl --batch-size 8 --mode defaults --out result.json

The same job as the peers' scripts do, through the code that the trainer process runs: render, pack, rounds of
a cohort of one. Only the lease, the checkpoints and the uploads are left out, as saving is for the peers.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import psutil

sys.path[:0] = [str(Path(__file__).parent / "peers"), str(Path(__file__).parent.parent)]

import torch
from measuring import (
    SEED,
    Result,
    count_tokens,
    read_rows,
    recorded_environment,
    task_from_arguments,
    versions_of,
)

from core.catalog import SMOLLM2
from core.jobspec import Hyperparameters, JobSpec, LoraAdapter
from worker.data.render import render
from worker.engine.adapters import TrainableAdapter
from worker.engine.base_model import ResidentBase, choose_device
from worker.engine.loop import train_round
from worker.engine.member import Member

MAX_STEP_TOKENS = 1024


def main() -> None:
    task = task_from_arguments(__doc__)
    rows = read_rows(task.data)
    max_step_tokens = task.overrides.get("max_step_tokens", MAX_STEP_TOKENS)
    base = ResidentBase(SMOLLM2, task.base, "", choose_device("auto"))
    spec = JobSpec(
        base_model=SMOLLM2.id,
        seed=SEED,
        hyperparameters=Hyperparameters(n_epochs=1, batch_size=task.batch_size, learning_rate_multiplier=1.0),
        adapter=LoraAdapter(),
    )
    rendered = render(base.tokenizer, enumerate(rows, start=1), SMOLLM2.max_length, "training_file")
    member = Member(TrainableAdapter(base, "bench", spec.adapter, spec.seed), spec, rendered.rows)
    member.rows_after = lambda step: rendered.rows[step * task.batch_size :][
        : task.batch_size
    ]  # as the peers
    tokens = count_tokens(task.base, rows)
    started = time.perf_counter()
    to_first_step = time.time() - psutil.Process().create_time()
    losses, seconds = [], []
    while not member.finished:
        step_started = time.perf_counter()
        (result,) = train_round(base, [member], max_step_tokens).values()
        if isinstance(result, Exception):
            raise result
        losses.append(result.loss)
        seconds.append(time.perf_counter() - step_started)
    Result(
        peer="tunery",
        mode=task.mode,
        rows=len(rows),
        batch_size=task.batch_size,
        real_tokens=rendered.tokens,
        answer_tokens=tokens.answers,
        train_seconds=time.perf_counter() - started,
        step_seconds=seconds,
        peak_rss_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        seconds_to_first_step=to_first_step,
        losses=losses,
        settings={"max_step_tokens": max_step_tokens, "threads": torch.get_num_threads()},
        environment=recorded_environment(),
        versions=versions_of("torch", "transformers", "peft"),
    ).write(task.out)


if __name__ == "__main__":
    main()
