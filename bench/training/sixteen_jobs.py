"""Runs sixteen small jobs of mixed ranks, from the start of the first job to the last adapter.

A peer trains one job per process, so its sixteen jobs follow each other. Only some of them are run; the
makespan is sixteen times their mean. Tunery runs all sixteen, in each way in which Tunery can train them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench.pages.report import REFERENCE, Run, median_of, relative_difference, results_of, rounded, versions
from bench.pages.tables import failed_row, markdown, shown
from bench.peers.measuring import Tokens
from bench.training.one_job import BATCH_SIZE
from bench.training.running import RunFailed, run_script, run_trainer, say, validate
from bench.training.trainers import TUNERY, TUNERY_INT8, Trainer
from bench.training.workloads import JOB_RANKS, Files
from worker.process.environment import TRAINER_ENVIRONMENT

OURS = "Tunery, one cohort"
HEADINGS = (
    "trainer",
    "jobs run",
    "makespan, s",
    "tokens/s",
    f"× {REFERENCE}",
    "peak memory, GB",
    "validation loss",
    "ours to it",
)
KEPT = (
    *("jobs_run", "makespan_seconds", "seconds_to_adapter", "tokens", "computed_tokens", "resident"),
    *("peak_bytes", "validation_loss", "settings"),
)


@dataclass(frozen=True)
class Jobs:
    base: Path
    files: list[Files]
    tokens: list[Tokens]
    turns: int
    """The number of jobs that are run if each has its own process, and that are validated in any case."""

    @property
    def total_tokens(self) -> int:
        return sum(tokens.total for tokens in self.tokens)


Way = Callable[[Jobs, Path], dict[str, Any]]
"""A function that runs the jobs, saves adapter i in the subfolder `i`, and returns the figures.

It raises RunFailed."""


@dataclass(frozen=True)
class Line:
    """The medians of one way over its successful runs. A figure is None if no run has it."""

    trainer: str
    runs: int
    jobs_run: int | None = None
    makespan_seconds: float | None = None
    tokens_per_second: float | None = None
    """The tokens in the rows of all jobs, divided by the makespan, which includes loading and saving."""
    ratio: float | None = None
    """The makespan of the reference, divided by this makespan."""
    peak_gb: float | None = None
    """Most memory of a process that trained, 10^9 bytes: of a GPU, or its resident set."""
    validation_loss: float | None = None
    """Mean over the jobs that every way has run, nats per answer token."""
    ours_to_it: float | None = None


def ways(trainers: Sequence[Trainer], pythons: dict[str, Path | None], jobs: Jobs) -> dict[str, Way]:
    """Return all ways, in the order of the table."""
    base, models = ["--base", str(jobs.base)], ["--models", str(jobs.base.parents[1])]
    found: dict[str, Way] = {
        OURS: partial(in_one_process, module="bench.training.cohort", options=base),
        f"{OURS}, shuffled": partial(
            in_one_process, module="bench.training.cohort", options=[*base, "--shuffled"]
        ),
        "Tunery, the service": partial(in_one_process, module="bench.training.service", options=models),
        "Tunery, in turn, base loaded once": partial(
            in_one_process, module="bench.training.cohort", options=[*base, "--in-turn"]
        ),
    }
    for trainer in trainers:
        if trainer == TUNERY_INT8:  # the jobs share one base, which computes in one way
            continue
        name = "Tunery, in turn, a process each" if trainer == TUNERY else trainer.name
        found[name] = partial(in_a_process_each, trainer=trainer, python=pythons[trainer.peer])
    return found


def in_one_process(jobs: Jobs, folder: Path, module: str, options: list[str]) -> dict[str, Any]:
    """Run all jobs in one process, with one of our modules."""
    folder.mkdir()
    described = [
        {"rows": str(files.train.resolve()), "rank": rank, "adapter": str(folder / str(number))}
        for number, (files, rank) in enumerate(zip(jobs.files, JOB_RANKS, strict=True))
    ]
    listed = folder / "jobs.json"
    listed.write_text(json.dumps(described))
    arguments = [*options, "--jobs", str(listed), "--batch-size", str(BATCH_SIZE)]
    result = run_script(Path(sys.executable), module, arguments, TRAINER_ENVIRONMENT)
    if result["tokens"] != jobs.total_tokens:
        raise RunFailed(f"it trained on {result['tokens']} tokens, but the rows have {jobs.total_tokens}")
    return result | {"jobs_run": len(described)}


def in_a_process_each(jobs: Jobs, folder: Path, trainer: Trainer, python: Path | None) -> dict[str, Any]:
    """Run the first `turns` jobs, one process after another. The makespan is their mean times all jobs."""
    results = []
    for number in range(jobs.turns):
        rows, rank, adapter = jobs.files[number].train, JOB_RANKS[number], folder / str(number)
        result = run_trainer(trainer, python, jobs.base, rows, BATCH_SIZE, rank, adapter)
        if result["real_tokens"] != jobs.tokens[number].total:
            raise RunFailed(f"job {number + 1}: it trained on {result['real_tokens']} tokens")
        results.append(result)
    seconds = [result["seconds_to_adapter"] for result in results]
    return {
        "jobs_run": jobs.turns,
        "makespan_seconds": mean(seconds) * len(jobs.files),
        "seconds_to_adapter": seconds,
        "peak_bytes": max(result["peak_bytes"] for result in results),
        "settings": results[0]["settings"],
        "versions": results[0]["versions"],
    }


def run_all(found: dict[str, Way], jobs: Jobs, rounds: int) -> tuple[list[Run], float | None]:
    """Run all ways in turn, `rounds` times, and validate their adapters.

    A failed run is in the list too. Also returns the base's validation loss, None if every run failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        runs: list[Run] = []
        for number in range(1, rounds + 1):
            for name, way in found.items():
                runs.append(run_once(name, way, jobs, number, Path(folder) / str(len(runs))))
        return validated(runs, jobs, Path(folder))


def run_once(name: str, way: Way, jobs: Jobs, number: int, folder: Path) -> Run:
    try:
        result = way(jobs, folder)
    except RunFailed as failure:
        say(f"e2e16, {name} failed: {failure}")
        return Run(name, number, failure=str(failure))
    say(f"e2e16, {name}: {result['makespan_seconds']:.0f} s")
    return Run(name, number, result)


def validated(runs: list[Run], jobs: Jobs, folder: Path) -> tuple[list[Run], float | None]:
    """Return the runs with the mean validation loss of their first `turns` adapters."""
    places = [index for index, run in enumerate(runs) if run.result is not None]
    if not places:
        return runs, None
    first = range(jobs.turns)
    pairs = [(folder / f"{index}/{job}", jobs.files[job].validation) for index in places for job in first]
    losses, before = validate(jobs.base, pairs)
    runs = list(runs)
    for place, index in enumerate(places):
        loss = mean(losses[place * jobs.turns : (place + 1) * jobs.turns])
        runs[index] = replace(runs[index], result={**(runs[index].result or {}), "validation_loss": loss})
    return runs, before


def summarise(runs: Sequence[Run], tokens: int) -> list[Line]:
    """Return a line for each way. `tokens` is the number of tokens of all jobs."""
    found = {run.trainer: results_of(runs, run.trainer) for run in runs}
    reference = median_of(found.get(REFERENCE, []), "makespan_seconds")
    ours = median_of(found.get(OURS, []), "validation_loss")
    return [line_of(name, results, reference, ours, tokens) for name, results in found.items()]


def line_of(
    name: str, results: list[dict[str, Any]], reference: float | None, our_loss: float | None, tokens: int
) -> Line:
    """Return the medians of the results, if any. `reference` is a makespan in seconds, `our_loss` in nats."""
    if not results:
        return Line(name, 0)
    makespan = median(result["makespan_seconds"] for result in results)
    loss = median_of(results, "validation_loss")
    return Line(
        name,
        len(results),
        results[0]["jobs_run"],
        makespan,
        tokens / makespan,
        reference / makespan if reference else None,
        median(result["peak_bytes"] for result in results) / 1e9,
        loss,
        relative_difference(our_loss, loss) if name != OURS else None,
    )


def table(lines: Sequence[Line]) -> str:
    return markdown(HEADINGS, [cells_of(line) for line in lines])


def cells_of(line: Line) -> tuple[str, ...]:
    if line.makespan_seconds is None:
        return failed_row(line.trainer, len(HEADINGS), word_at=2)
    return (
        line.trainer,
        shown(line.jobs_run, "d"),
        shown(line.makespan_seconds, ".0f"),
        shown(line.tokens_per_second, ".0f"),
        shown(line.ratio, ".2f"),
        shown(line.peak_gb, ".1f"),
        shown(line.validation_loss, ".4f"),
        shown(line.ours_to_it, "+.2%"),
    )


def kept(run: Run) -> dict[str, Any]:
    described: dict[str, Any] = {"trainer": run.trainer, "run": run.number}
    if run.result is None:
        return described | {"failure": run.failure}
    return described | {name: run.result[name] for name in KEPT if name in run.result}


def section(
    jobs: Jobs, source: str, validation_rows: int, runs: Sequence[Run], loss_before: float | None
) -> dict[str, Any]:
    """Return the fields of the workload's section that not every section has."""
    return {
        "kind": "many jobs",
        "source": source,
        "jobs": len(jobs.files),
        "rows": len(jobs.tokens[0].per_row),
        "validation_rows": validation_rows,
        "batch_size": BATCH_SIZE,
        "ranks": list(JOB_RANKS),
        "turns": jobs.turns,
        "tokens": jobs.total_tokens,
        "validation_loss_before": loss_before,
        "versions": versions(runs),
        "median": [rounded(line) for line in summarise(runs, jobs.total_tokens)],
        "runs": [kept(run) for run in runs],
    }
