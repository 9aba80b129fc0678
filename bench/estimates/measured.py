"""Trains real jobs on the CPU as a trainer does, each in its own process, and measures what they take."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from math import inf
from multiprocessing import get_context
from pathlib import Path
from typing import TypedDict
from unittest.mock import patch

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from api.job_estimates.estimate import estimate
from api.job_estimates.facts import Facts
from api.job_estimates.rows import Rows
from bench.estimates.cases import Base, Case
from core.estimates.configuration import configuration_of
from core.estimates.job.devices import cpu
from core.estimates.memory_plan import Recompute
from core.settings import Settings
from tests.fixtures.models.tiny import text
from worker.base_models.model_store import ensure_model
from worker.device.model_holder import FoundModel, ModelHolder
from worker.device.watchdog import Watchdog
from worker.engine.base.loading import compute_dtype
from worker.engine.device.free_memory import collect_garbage, held_bytes
from worker.engine.device.peak_memory import peak_memory
from worker.engine.step.processes import ALONE
from worker.engine.step.trainee import Trainee
from worker.process.environment import TRAINER_ENVIRONMENT
from worker.rows.row import Row
from worker.rows.row_store import RowStore, store_rows
from worker.trainer.devices.process_group import ProcessGroup

CPU = torch.device("cpu")
VALIDATION = 2  # rows


class Found(TypedDict):
    """What a job takes. The bytes are the most that its whole process held once the base model was loaded."""

    tokens: int
    bytes: int


def write_random(base: Base, folder: Path) -> None:
    """Write a base model with random weights, if it is not there."""
    if base.random is None or (folder / "model.safetensors").exists():
        return
    torch.manual_seed(0)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(LlamaConfig(**base.random), dtype=torch.bfloat16)
    weights = {
        name: torch.empty(each.shape, dtype=torch.bfloat16).uniform_(-0.02, 0.02)
        if each.dim() > 1
        else torch.ones(each.shape, dtype=torch.bfloat16)
        for name, each in model.state_dict().items()
        if not (base.random["tie_word_embeddings"] and name == "lm_head.weight")
    }
    model.save_pretrained(folder, state_dict=weights)
    text().save_pretrained(folder)


def measure(case: Case, folder: Path, models: Path) -> Found:
    """Train a job in a process with a trainer's environment, and return what it took."""
    with (
        patch.dict(os.environ, TRAINER_ENVIRONMENT),
        ProcessPoolExecutor(1, get_context("spawn")) as process,
    ):
        return process.submit(_measure, case, folder, models).result()


def _measure(case: Case, folder: Path, models: Path) -> Found:
    torch.set_num_threads(case.lanes)
    source = case.base.entry(folder)
    folder, sha256 = ensure_model(source, models)
    holder = ModelHolder(Settings(), CPU)
    holder.load(FoundModel(source.in_precision(case.precision), folder, sha256, sharded=False))
    group = ProcessGroup(holder, ALONE, None, Watchdog(inf), case.recompute or "auto")
    training, validation = rows_of(case)
    collect_garbage(CPU)
    before = held_bytes(CPU)
    with peak_memory(CPU) as peak:
        trainee, tokens = train(group, case, training)
        group.evaluate(trainee.name, validation)
    return Found(tokens=tokens, bytes=before + peak.bytes)


def train(group: ProcessGroup, case: Case, rows: RowStore) -> tuple[Trainee, int]:
    """Train a job to its end. Return it, and its tokens. Raises the error of a step."""
    trainee, tokens = group.join("job", case.spec, rows, {}), 0
    for _ in range(trainee.total_steps):
        (result,) = group.train_round([trainee.name]).values()
        if isinstance(result, Exception):
            raise result
        tokens += result.tokens
    return trainee, tokens


def expected(case: Case, folder: Path, models: Path) -> tuple[int, int]:
    """Return the bytes and the tokens that a job on this CPU is estimated to take."""
    source = case.base.entry(folder)
    training, validation = rows_of(case)
    facts = Facts(
        entry=source.in_precision(case.precision),
        source=source,
        configuration=configuration_of(source, models),
        training=_counted(training),
        validation=_counted(validation),
        rates=(),
        offered=(case.recompute,) if case.recompute else tuple(Recompute),
    )
    machine = cpu("this CPU", 64 * 10**9, compute_dtype(CPU).itemsize, case.lanes)
    estimated = estimate(case.spec, facts, [machine], with_options=False)
    (device,) = estimated.devices
    assert device.memory is not None
    return device.memory.peak_bytes + device.memory.runtime_bytes, estimated.tokens.count


def rows_of(case: Case) -> tuple[RowStore, RowStore]:
    """Return a job's rows and its validation rows."""
    return _rows(case, case.steps * case.batch_size, 1), _rows(case, VALIDATION, 2)


def _rows(case: Case, count: int, seed: int) -> RowStore:
    random = np.random.default_rng(seed)
    shortest, longest = case.lengths

    def row(line: int) -> Row:
        length = int(random.integers(shortest, longest, endpoint=True))
        tokens_L = random.integers(0, 200, length).astype(np.int32)
        return Row(line, tokens_L, np.arange(length) >= length // 4)

    return store_rows(row(line) for line in range(count))


def _counted(rows: RowStore) -> Rows:
    summary = rows.summary
    return Rows.counted(summary.rows, 1, summary.tokens, summary.longest_row, summary.squares)
