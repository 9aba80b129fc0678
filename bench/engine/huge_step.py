"""Measure how long small jobs take beside a job with a huge step, with and without the spreading of its step.

    python -m bench.engine.huge_step                          # writes bench/results/huge-step.json
    python -m bench.engine.huge_step --huge-rows 64 --runs 2 --out /tmp/try.json
    python -m bench.engine.huge_step --dpo --out /tmp/try.json   # the huge job's rows are pairs

Three jobs with one short row a step train beside one job whose step has many long rows. Both ways run by
turns in one process, and each run trains all jobs to their ends. Processor time hardly depends on what else
runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench import BENCH
from bench.command_line import add_models, new_parser, positive
from bench.peers.measuring import RANK
from bench.training.machine import describe
from bench.training.ours import load_base, new_trainee, train
from bench.training.preparation import commit, prepare
from bench.training.rounds import rows_of
from bench.training.running import say
from bench.training.workloads import SEED
from worker.engine.base.base_model import ResidentBase
from worker.engine.step import loop
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row

SMALL_JOBS = 3
WAYS = {"spread": loop.SPREAD_FROM, "whole": math.inf}
"""Each way with the size from which steps are spread, in steps of the smallest job."""


def main() -> None:
    given = arguments()
    base = load_base(given.base or prepare(given.models, [])[0])
    chance = random.Random(SEED)
    huge = rows_of(base, given.huge_rows * given.huge_steps, given.huge_tokens, chance)
    small = [rows_of(base, given.small_steps, given.small_tokens, chance) for _ in range(SMALL_JOBS)]
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(given.runs):
        for way, spread_from in WAYS.items():
            loop.SPREAD_FROM = spread_from  # type: ignore[assignment]
            runs[way].append(one_run(base, huge, small, given))
            say(f"{way}: {runs[way][-1]}")
    document: dict[str, Any] = {
        "commit": commit(),
        "machine": asdict(describe()),
        "settings": {key: value for key, value in vars(given).items() if isinstance(value, int)},
        "runs": runs,
        "small_jobs_end_times_sooner": {
            clock: round(middle(runs["whole"], clock) / middle(runs["spread"], clock), 2)
            for clock in ("small_seconds", "small_cpu_seconds")
        },
        "all_jobs_end_times_sooner": {
            clock: round(middle(runs["whole"], clock) / middle(runs["spread"], clock), 2)
            for clock in ("all_seconds", "all_cpu_seconds")
        },
    }
    given.out.write_text(json.dumps(document, indent=1) + "\n")


def middle(runs: list[dict[str, float]], clock: str) -> float:
    return median(run[clock] for run in runs)


def one_run(
    base: ResidentBase, huge: list[Row], small: list[list[Row]], given: argparse.Namespace
) -> dict[str, float]:
    """Return when the last small job ended, and when all jobs had ended, in seconds from the first round."""
    jobs = [new_trainee(base, "huge", huge, given.huge_rows, RANK, pairs=given.dpo)]
    jobs += [new_trainee(base, f"small{number}", rows, 1, RANK) for number, rows in enumerate(small)]
    ends: dict[str, tuple[float, float]] = {}
    began, began_cpu = time.perf_counter(), time.process_time()

    def note(trainee: Trainee) -> None:
        ends[trainee.adapter.name] = time.perf_counter() - began, time.process_time() - began_cpu

    train(base, jobs, given.step_tokens, note)
    all_ends = ends.pop("huge"), max(ends.values())
    return {
        "small_seconds": round(all_ends[1][0], 2),
        "small_cpu_seconds": round(all_ends[1][1], 2),
        "all_seconds": round(max(all_ends)[0], 2),
        "all_cpu_seconds": round(max(all_ends)[1], 2),
    }


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--base", type=Path, help="folder of the base model")
    parser.add_argument("--dpo", action="store_true", help="let the huge job learn preferences")
    parser.add_argument("--huge-rows", type=positive, default=12, help="rows of a huge step (default 12)")
    parser.add_argument("--huge-tokens", type=positive, default=512, help="tokens of each (default 512)")
    parser.add_argument("--huge-steps", type=positive, default=2, help="steps of the huge job (default 2)")
    parser.add_argument(
        "--small-tokens", type=positive, default=96, help="tokens of a small step (default 96)"
    )
    parser.add_argument("--small-steps", type=positive, default=12, help="steps of a small job (default 12)")
    parser.add_argument("--step-tokens", type=positive, default=1024, help="of a micro-batch (default 1024)")
    parser.add_argument("--runs", type=positive, default=1, help="runs of each way (default 1)")
    add_models(parser)
    parser.add_argument("--out", type=Path, default=BENCH / "results/huge-step.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
