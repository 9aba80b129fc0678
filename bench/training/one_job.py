"""Runs one job with every trainer in turn: same base, rows, batches and adapter, one process at a time."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.pages.report import Run, kept, rounded, summarise, versions
from bench.peers.measuring import RANK, Tokens
from bench.training.counting import needed_operations
from bench.training.preparation import Measured, ceiling_of
from bench.training.running import RunFailed, run_trainer, say, validate
from bench.training.trainers import Trainer
from bench.training.workloads import Files

BATCH_SIZE = 8  # rows per optimizer step


@dataclass(frozen=True)
class Workload:
    name: str
    files: Files
    source: str
    """The outside file's name below --data, or "generated"."""
    pairs: bool = False
    """Whether each two rows are the two answers to one prompt."""


def run_all(
    trainers: list[Trainer],
    pythons: dict[str, Path | None],
    base: Path,
    workload: Workload,
    tokens: Tokens,
    rounds: int,
) -> tuple[list[Run], float | None]:
    """Run all trainers in turn, `rounds` times, and validate their adapters.

    A failed run is in the list too. Also returns the base's validation loss, None if every run failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        runs: list[Run] = []
        for number in range(1, rounds + 1):
            for trainer in trainers:
                adapter = Path(folder) / str(len(runs))
                python = pythons[trainer.peer]
                runs.append(run_once(trainer, python, base, workload, tokens, number, adapter))
        return validated(runs, base, workload, Path(folder))


def run_once(
    trainer: Trainer,
    python: Path | None,
    base: Path,
    workload: Workload,
    tokens: Tokens,
    number: int,
    adapter: Path,
) -> Run:
    try:
        result = run_trainer(trainer, python, base, workload.files.train, BATCH_SIZE, RANK, adapter)
        if result["real_tokens"] != tokens.total:
            raise RunFailed(f"it trained on {result['real_tokens']} tokens, but the rows have {tokens.total}")
    except RunFailed as failure:
        say(f"{workload.name}, {trainer.name} failed: {failure}")
        return Run(trainer.name, number, failure=str(failure))
    say(f"{workload.name}, {trainer.name}: {result['tokens_per_second']:.0f} tokens/s")
    return Run(trainer.name, number, result)


def validated(
    runs: list[Run], base: Path, workload: Workload, adapters: Path
) -> tuple[list[Run], float | None]:
    """Return the runs with their validation losses. Adapter i is in the folder `i` of `adapters`."""
    places = [index for index, run in enumerate(runs) if run.result is not None]
    if not places:
        return runs, None
    losses, before = validate(base, [(adapters / str(index), workload.files.validation) for index in places])
    runs = list(runs)
    for index, loss in zip(places, losses, strict=True):
        runs[index] = replace(runs[index], result={**(runs[index].result or {}), "validation_loss": loss})
    return runs, before


def section(
    base: Path,
    workload: Workload,
    tokens: Tokens,
    validation_rows: int,
    runs: list[Run],
    loss_before: float | None,
    before: Measured,
    after: Measured,
) -> dict[str, Any]:
    """Return the fields of the workload's section that not every section has."""
    operations = needed_operations(base, tokens.per_row, tokens.answers, RANK, reference=workload.pairs)
    return {
        "kind": "one job",
        "pairs": workload.pairs,
        "source": workload.source,
        "rows": len(tokens.per_row),
        "validation_rows": validation_rows,
        "batch_size": BATCH_SIZE,
        "rank": RANK,
        "tokens": tokens.total,
        "answer_tokens": tokens.answers,
        "needed_gflop": round(operations / 1e9, 1),
        "validation_loss_before": loss_before,
        "versions": versions(runs),
        "median": [rounded(line) for line in summarise(runs, operations, ceiling_of(before, after))],
        "runs": [kept(run) for run in runs],
    }
