"""Runs Tunery's engine without the service around it, for the scripts that measure it.

It is the code that the trainer process runs: render, pack, rounds of a cohort. Only the lease, the
checkpoints and the uploads are left out, since the peers have none either.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.peers.measuring import BETA, LEARNING_RATE, PAIR_LEARNING_RATE, SEED
from bench.peers.measuring import Row as ChatRow
from core.catalog import SMOLLM2, Quantization
from core.datasets.kinds import Kind
from core.estimates.memory_plan import Recompute
from core.jobs.spec import Hyperparameters, JobSpec, LoraAdapter
from core.objectives.dpo import Dpo
from core.objectives.supervised import Supervised
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase, choose_device
from worker.engine.batch.grouping import JobRows
from worker.engine.batch.pack import pack
from worker.engine.step.context import PassContext
from worker.engine.step.data_order import DataOrder
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import StepResult, Trainee
from worker.rendering.render import Rendering
from worker.rows.row import Row


class FileOrder(DataOrder):
    """The order of the file, in which the peers take their rows here."""

    def of(self, _epoch: int) -> NDArray[np.int64]:
        return np.arange(self.examples)


class InFileOrder(Trainee):
    """A trainee that takes its rows in the order of the file. Others shuffle them."""

    order_type = FileOrder


def load_base(folder: Path, quantization: Quantization | None = None) -> ResidentBase:
    entry = SMOLLM2.model_copy(update={"quantization": quantization})
    return ResidentBase(entry, folder, "", choose_device("auto"))


def usual_step_tokens(base: ResidentBase) -> int:
    """Return the most tokens to compute at once beside no adapter. Raises JobError if no row would fit."""
    return base.budget.plan(base.budget.usual_load, tuple(Recompute)).step_tokens


def rendered(base: ResidentBase, rows: Sequence[ChatRow], kind: Kind = "chat") -> list[Row]:
    rendering = Rendering(base.tokenizer, SMOLLM2.max_length, "training_file", kind)
    return list(rendering.render(enumerate(rows, start=1)))


def new_trainee(
    base: ResidentBase,
    name: str,
    rows: Sequence[Row],
    batch_size: int,
    rank: int,
    epochs: int = 1,
    pairs: bool = False,
    shuffled: bool = False,
) -> Trainee:
    """Return a trainee with the settings that all trainers share (bench/peers/measuring.py).

    It takes its rows in the order of the file, or shuffled, as a job of the service does.
    """
    size, rate = (batch_size // 2, PAIR_LEARNING_RATE / LEARNING_RATE) if pairs else (batch_size, 1.0)
    spec = JobSpec(
        base_model=SMOLLM2.id,
        seed=SEED,
        hyperparameters=Hyperparameters(n_epochs=epochs, batch_size=size, learning_rate_multiplier=rate),
        adapter=LoraAdapter(r=rank, lora_alpha=2 * rank),
        objective=Dpo(beta=BETA) if pairs else Supervised(),
    )
    kind = Trainee if shuffled else InFileOrder
    return kind(TrainableAdapter(base, name, spec.low_rank, spec.seed), spec, rows)


def one_round(
    base: ResidentBase, trainees: Sequence[Trainee], max_step_tokens: int | None = None
) -> dict[str, StepResult]:
    """Run one step of every trainee. Raises the JobError of the first trainee that has one."""
    results: dict[str, StepResult] = {}
    context = PassContext(base, max_step_tokens or usual_step_tokens(base))
    for name, result in train_round(context, trainees).items():
        if isinstance(result, Exception):
            raise result
        results[name] = result
    return results


def train(
    base: ResidentBase,
    trainees: Sequence[Trainee],
    max_step_tokens: int | None = None,
    when_finished: Callable[[Trainee], None] | None = None,
) -> tuple[list[dict[str, StepResult]], list[float]]:
    """Run rounds until every trainee has finished. Returns the results and the seconds of each round."""
    rounds, seconds = [], []
    active = list(trainees)
    while active:
        began = time.perf_counter()
        rounds.append(one_round(base, active, max_step_tokens))
        seconds.append(time.perf_counter() - began)
        for trainee in active:
            if trainee.finished and when_finished:
                when_finished(trainee)
        active = [trainee for trainee in active if not trainee.finished]
    return rounds, seconds


def batches_of(trainee: Trainee) -> list[list[Row]]:
    """Return the rows of each step of the trainee's whole run."""
    return [trainee.rows_after(step) for step in range(trainee.total_steps)]


def computed_tokens(
    base: ResidentBase, jobs: Sequence[Sequence[Sequence[Row]]], max_step_tokens: int | None = None
) -> int:
    """Return the tokens in all micro-batches of jobs with these batches that train together.

    There are fewer than in the rows if rows begin alike. The function packs every round again, so call it
    outside of the timed part.
    """
    total = 0
    for steps in zip_longest(*jobs, fillvalue=()):
        jobs_rows = [JobRows(f"job{number}", rows, 1.0) for number, rows in enumerate(steps) if rows]
        batches = pack(jobs_rows, max_step_tokens or usual_step_tokens(base), base.device)
        total += sum(len(batch.tokens_T) for batch in batches)
    return total
