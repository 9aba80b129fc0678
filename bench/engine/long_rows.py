"""Measure what a long row costs: processor time for each token, and the memory of a step.

    python -m bench.engine.long_rows                                     # writes bench/results/long-rows.json
    python -m bench.engine.long_rows --points 512:none,8192:layers --out /tmp/try.json

A point is a number of tokens in a row and what is computed again in the backward pass. Each is measured in a
process of its own, in which one job makes steps of one row, or of as many as give 2,048 tokens. Half of a row
is learnt. Memory is the peak of the whole process. Processor time is that of the cheapest counted step. It
hardly depends on what else runs on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import BENCH
from bench.command_line import add_models, new_parser, positive
from bench.peers.measuring import RANK, peak_rss_bytes
from bench.training.machine import describe
from bench.training.ours import load_base, new_trainee, usual_step_tokens
from bench.training.preparation import commit, prepare
from bench.training.rounds import rows_of
from bench.training.running import say
from bench.training.workloads import SEED
from core.estimates.measures import Recompute
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.process.environment import TRAINER_ENVIRONMENT

POINTS = ["512:none", "4096:none", "4096:layers", "8192:layers"]
STEP_TOKENS = 2048


def main() -> None:
    given = arguments()
    base = given.base or prepare(given.models, [])[0]
    if given.point:
        print(json.dumps(measure(base, given.point, given.steps)))
        return
    document: dict[str, Any] = {"commit": commit(), "machine": asdict(describe()), "points": []}
    for point in given.points:
        command = [sys.executable, "-m", "bench.engine.long_rows", "--base", str(base), "--point", point]
        command += ["--steps", str(given.steps)]
        done = subprocess.run(
            command, check=True, env=TRAINER_ENVIRONMENT | dict(os.environ), capture_output=True
        )
        document["points"].append(json.loads(done.stdout))
        say(f"{point}: {document['points'][-1]}")
    given.out.write_text(json.dumps(document, indent=1) + "\n")


def measure(folder: Path, point: str, steps: int) -> dict[str, Any]:
    """Return the processor time for each token, and the peak of memory, of a job at one point."""
    length, measure = point.split(":")
    tokens, recompute = int(length), Recompute(measure)
    base, batch_size = load_base(folder), max(1, STEP_TOKENS // int(length))
    rows = rows_of(base, batch_size * steps, tokens, random.Random(SEED))
    trainee = new_trainee(base, "job", rows, batch_size, RANK)
    context = PassContext(base, usual_step_tokens(base), recompute=recompute)
    seconds = []
    losses = []
    for _ in range(steps):
        began = time.process_time()
        (result,) = train_round(context, [trainee]).values()
        if isinstance(result, Exception):
            raise result
        seconds.append(time.process_time() - began)
        losses.append(result.loss)
    return {
        "tokens": tokens,
        "recompute": recompute.value,
        "cpu_microseconds_per_token": round(min(seconds) / (batch_size * tokens) * 1e6),
        "peak_rss_bytes": peak_rss_bytes(),
        "lanes": base.lanes.count,
        "loss": losses[-1],
    }


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--points", type=lambda text: text.split(","), default=POINTS)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    parser.add_argument("--base", type=Path, help="folder of the base model")
    parser.add_argument("--steps", type=positive, default=2, help="steps of a point (default 2)")
    add_models(parser)
    parser.add_argument("--out", type=Path, default=BENCH / "results/long-rows.json")
    return parser.parse_args()


if __name__ == "__main__":
    main()
