"""Measure Tunery's trainer and others on the same rows, and write one page of tables.

    python -m bench.train                                  # all workloads, generated rows, once each
    python -m bench.train --data DIR --workload gsm8k --runs 3
    python -m bench.train --workload e2e16 --turns 1
    python -m bench.train --peers none                     # Tunery alone

With several runs, the trainers take turns (A B C A B C), so that a machine that becomes slower slows all of
them. Run nothing else meanwhile. The first run installs the environment of each peer: some GB from the
package index. The page is bench/results/<date>.md. A workload that runs again on the same day replaces its
part.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import BENCH, page
from bench.command_line import add_models, names_in, new_parser, positive
from bench.peers.venvs import DEFAULT_VENVS, GPU_REQUIREMENTS, PEERS
from bench.training import one_job, sixteen_jobs
from bench.training.preparation import commit, make_environments, measure_machine, prepare
from bench.training.running import say
from bench.training.trainers import Trainer, trainers_of
from bench.training.workloads import (
    JOB_RANKS,
    JOB_ROWS,
    PAIRS,
    ROWS,
    VALIDATION_ROWS,
    WORKLOADS,
    build,
    build_jobs,
    source_of,
)
from core.catalog import SMOLLM2

FILES = BENCH / "workloads"
MANY = "e2e16"


def main() -> None:
    given = arguments()
    say("preparing the base model")
    base, _ = prepare(given.models, [])
    pythons = make_environments(given.venvs, given.peers)
    for name in given.workload:
        trainers = [trainer for trainer in trainers_of(name) if trainer.peer in pythons]
        path = given.out / f"{datetime.now().astimezone():%Y-%m-%d}.json"
        page.merge(path, name, measure(name, given, base, trainers, pythons))
        say(f"\n{path.with_suffix('.md').read_text()}\nWritten to {path.with_suffix('')}.json and .md")


def measure(
    name: str,
    given: argparse.Namespace,
    base: Path,
    trainers: list[Trainer],
    pythons: dict[str, Path | None],
) -> page.Section:
    """Run a workload with every trainer. The machine's ceiling is measured before and after."""
    source = source_of(name, given.data) or "generated"
    measured_commit = commit()  # read now, because the sources may change while it runs
    say(f"{name}: {source}")
    before = measure_machine(base)
    if name == MANY:
        files = build_jobs(name, FILES, len(JOB_RANKS), given.data, given.rows or JOB_ROWS)
        _, tokens = prepare(given.models, [job.train for job in files])
        jobs = sixteen_jobs.Jobs(base, files, tokens, given.turns)
        runs, loss = sixteen_jobs.run_all(sixteen_jobs.ways(trainers, pythons, jobs), jobs, given.runs)
        after = measure_machine(base)
        found = sixteen_jobs.section(jobs, source, VALIDATION_ROWS, runs, loss)
    else:
        one = build(name, FILES, given.data, given.rows or ROWS)
        workload = one_job.Workload(name, one, source, name == PAIRS)
        _, (counted,) = prepare(given.models, [workload.files.train])
        runs, loss = one_job.run_all(trainers, pythons, base, workload, counted, given.runs)
        after = measure_machine(base)
        found = one_job.section(base, workload, counted, VALIDATION_ROWS, runs, loss, before, after)
    return {
        "date": datetime.now().astimezone().isoformat(timespec="seconds"),
        "commit": measured_commit,
        "workload": name,
        "base_model": SMOLLM2.repository,
        "machine": before.machine,
        "gflops_before": before.gflops,
        "gflops_after": after.gflops,
        "environment": {trainer.name: trainer.environment for trainer in trainers},
        "not_run": not_run(before.machine),
        **found,
    }


def not_run(machine: dict[str, Any]) -> dict[str, str]:
    """Return the peers that are left out, with the reasons, and print them."""
    why = "no script for it yet" if machine["gpu"] else "it needs a GPU"
    reasons = {
        peer: f"not run: {why} (its environment: pip install {' '.join(packages)})"
        for peer, packages in GPU_REQUIREMENTS.items()
    }
    for peer, reason in reasons.items():
        say(f"{peer}: {reason}")
    return reasons


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        "--data",
        type=Path,
        help="folder of data from elsewhere, see bench/training/workloads.py (default: generated rows)",
    )
    parser.add_argument(
        "--workload", type=workloads, default=list(WORKLOADS), help=f"of {','.join(WORKLOADS)}"
    )
    parser.add_argument("--peers", type=peers, default=PEERS, help=f"of {','.join(PEERS)}, or none")
    parser.add_argument("--venvs", type=Path, default=DEFAULT_VENVS, help="the peers' environments")
    add_models(parser)
    parser.add_argument("--rows", type=positive, help=f"rows of a job (default {ROWS}; {JOB_ROWS} in {MANY})")
    parser.add_argument(
        "--runs", type=positive, default=1, help="runs of each trainer (default 1); the page has medians"
    )
    parser.add_argument("--turns", type=turns, default=4, help=f"jobs of {MANY} that a peer runs (default 4)")
    parser.add_argument("--out", type=Path, default=BENCH / "results", help="folder of the results")
    return parser.parse_args()


def workloads(text: str) -> list[str]:
    return names_in(text, list(WORKLOADS))


def peers(text: str) -> list[str]:
    return [] if text == "none" else names_in(text, PEERS)


def turns(text: str) -> int:
    if positive(text) > len(JOB_RANKS):
        raise argparse.ArgumentTypeError(f"must be at most {len(JOB_RANKS)}")
    return int(text)


if __name__ == "__main__":
    main()
