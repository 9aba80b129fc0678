"""Measure how Tunery's throughput changes with the size of the cohort and with the length of the rows.

    python -m bench.engine.scaling                                # everything: about ten minutes on two cores
    python -m bench.engine.scaling --cohorts 1,2 --lengths 128 --rounds 1 --out /tmp/try

Each point is a process of its own. In a cohort, each job adds 4 rows of 60 tokens to a round. For the
lengths, one job trains alone, and each of its steps holds 4,096 tokens, so that only the length differs. The
results are in <date>-scaling.json; `bench/performance.py` writes docs/performance.md from them.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

from bench import BENCH
from bench.command_line import add_models, new_parser
from bench.training.preparation import commit, measure_machine, prepare
from bench.training.running import run_script, say
from core.catalog import SMOLLM2
from worker.process.environment import TRAINER_ENVIRONMENT

COHORTS = [1, 2, 4, 8, 16]
COHORT_ROWS, COHORT_ROW_TOKENS = 4, 60
LENGTHS = [128, 256, 512, 1024, 2048, 4096]
STEP_TOKENS = 4096
POINT = (
    *("jobs", "batch_size", "row_tokens", "tokens_per_second", "computed_tokens_per_second"),
    *("tokens_per_second_per_job", "seconds_per_round", "round_seconds", "peak_rss_bytes"),
)


def main() -> None:
    given = arguments()
    base, _ = prepare(given.models, [])
    measured_commit = commit()  # read now, because the sources may change while it runs
    before = measure_machine(base)
    cohorts = [measure(base, jobs, COHORT_ROWS, COHORT_ROW_TOKENS, given.rounds) for jobs in given.cohorts]
    lengths = [
        measure(base, 1, max(1, STEP_TOKENS // tokens), tokens, given.rounds) for tokens in given.lengths
    ]
    after = measure_machine(base)
    one = (cohorts + lengths)[0]
    now = datetime.now().astimezone()
    document = {
        "date": now.isoformat(timespec="seconds"),
        "commit": measured_commit,
        "base_model": SMOLLM2.repository,
        "machine": before.machine,
        "gflops_before": before.gflops,
        "gflops_after": after.gflops,
        "versions": one["versions"],
        "settings": one["settings"],
        "environment": TRAINER_ENVIRONMENT,
        "cohorts": [kept(point) for point in cohorts],
        "lengths": [kept(point) for point in lengths],
    }
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / f"{now:%Y-%m-%d}-scaling.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    say(f"Written to {path}")


def measure(base: Path, jobs: int, batch_size: int, row_tokens: int, rounds: int) -> dict[str, Any]:
    """Measure one point with bench/training/rounds.py. Raises RunFailed."""
    arguments = ["--base", str(base), "--jobs", str(jobs), "--batch-size", str(batch_size)]
    arguments += ["--row-tokens", str(row_tokens), "--rounds", str(rounds)]
    point = run_script(Path(sys.executable), "bench.training.rounds", arguments, TRAINER_ENVIRONMENT)
    say(f"{jobs} jobs, rows of {row_tokens}: {point['tokens_per_second']:.0f} tokens/s")
    return point


def kept(point: dict[str, Any]) -> dict[str, Any]:
    return {name: point[name] for name in POINT}


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument(
        "--cohorts", type=numbers, default=COHORTS, help="sizes of cohorts (default 1,2,4,8,16)"
    )
    parser.add_argument(
        "--lengths", type=numbers, default=LENGTHS, help="tokens in a row (default 128 to 4096)"
    )
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds per point (default 5)")
    add_models(parser)
    parser.add_argument("--out", type=Path, default=BENCH / "results", help="folder of the results")
    return parser.parse_args()


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    main()
