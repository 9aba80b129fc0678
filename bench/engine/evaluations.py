"""Measure the evaluations of many small jobs: one after another, and all in one pass.

    python -m bench.engine.evaluations                          # writes bench/results/evaluations.json
    python -m bench.engine.evaluations --jobs 4 --rows 2 --out /tmp/try.json

Both ways run by turns in one process, after one run of each that does not count. Processor time hardly
depends on what else runs on the machine.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from bench import BENCH
from bench.command_line import add_models, new_parser, positive
from bench.training.machine import describe
from bench.training.ours import load_base, new_trainee, usual_step_tokens
from bench.training.preparation import commit, prepare
from bench.training.rounds import rows_of
from bench.training.running import say
from bench.training.workloads import JOB_RANKS, SEED
from worker.engine.step.context import PassContext
from worker.engine.step.loop import Validation, validate_together

Split = list[Sequence[Validation]]


def main() -> None:
    given = arguments()
    base = load_base(given.base or prepare(given.models, [])[0])
    chance = random.Random(SEED)
    validations = [
        Validation(
            new_trainee(base, f"job{number}", rows, len(rows), JOB_RANKS[number % len(JOB_RANKS)]),
            rows,
            [len(rows)],
        )
        for number in range(given.jobs)
        for rows in [rows_of(base, given.rows, given.tokens, chance)]
    ]
    for validation in validations:  # an adapter whose B is zero computes what the base model does
        validation.trainee.adapter.parameters.master.detach().normal_(0, 0.02)
    context = PassContext(base, given.step_tokens or usual_step_tokens(base))
    ways: dict[str, Split] = {"one by one": [[each] for each in validations], "together": [validations]}
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
    losses: dict[str, list[float]] = {}
    for number in range(given.runs + 1):
        for way, split in ways.items():
            began, began_cpu = time.perf_counter(), time.process_time()
            found = [one for together in split for one in validate_together(context, together)]
            seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - began_cpu
            losses[way] = [evaluations[0].loss for evaluations in found]
            if number:
                runs[way].append({"seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3)})
                say(f"{way}: {runs[way][-1]}")
    pairs = zip(losses["one by one"], losses["together"], strict=True)
    document: dict[str, Any] = {
        "commit": commit(),
        "machine": asdict(describe()),
        "settings": {key: value for key, value in vars(given).items() if isinstance(value, int)},
        "runs": runs,
        "times_less": {
            clock: round(
                median(run[clock] for run in runs["one by one"])
                / median(run[clock] for run in runs["together"]),
                2,
            )
            for clock in ("seconds", "cpu_seconds")
        },
        "largest_difference_of_a_loss": max(abs(one / other - 1) for one, other in pairs),
    }
    given.out.write_text(json.dumps(document, indent=1) + "\n")


def arguments() -> Any:
    parser = new_parser(__doc__)
    parser.add_argument("--base", type=Path, help="folder of the base model")
    parser.add_argument("--jobs", type=positive, default=16, help="jobs (default 16)")
    parser.add_argument("--rows", type=positive, default=4, help="validation rows of a job (default 4)")
    parser.add_argument("--tokens", type=positive, default=80, help="tokens of each row (default 80)")
    parser.add_argument("--step-tokens", type=positive, help="of a micro-batch (default: the base's)")
    parser.add_argument("--runs", type=positive, default=5, help="runs of each way that count (default 5)")
    add_models(parser)
    parser.add_argument("--out", type=Path, default=BENCH / "results/evaluations.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
