"""Train many small jobs with Tunery's engine in one process, together or one after another.

    python -m bench.training.cohort --base DIR --jobs jobs.json --batch-size 8 --out result.json
    python -m bench.training.cohort --base DIR --jobs jobs.json --batch-size 8 --in-turn --out result.json
    python -m bench.training.cohort --base DIR --jobs jobs.json --batch-size 8 --shuffled --out result.json

jobs.json lists the jobs: `[{"rows": "a.jsonl", "rank": 8, "adapter": "folder"}, …]`. Together they are a
cohort: in every round each job takes a step. With --in-turn, each job trains alone, and the base is loaded
once for all. With --shuffled, each job takes its rows in the order in which the service would: rows that
begin alike stand beside each other in some files, and share fewer tokens when they are shuffled.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.command_line import add_base, add_result_file, new_parser
from bench.peers.measuring import (
    peak_bytes,
    read_rows,
    recorded_environment,
    require_schedule,
    versions_of,
)
from bench.training.ours import (
    batches_of,
    computed_tokens,
    load_base,
    new_trainee,
    rendered,
    train,
    usual_step_tokens,
)
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.trainee import Trainee
from worker.rows.row import Row

Trained = list[list[list[Row]]]
"""The batches of each job of a cohort."""


@dataclass
class Jobs:
    """Starts jobs on the base, saves their adapters, and records the times."""

    base: ResidentBase
    described: list[dict[str, Any]]
    batch_size: int
    shuffled: bool
    born: float
    seconds_to_adapter: list[float] = field(default_factory=list)

    def start(self, number: int) -> Trainee:
        rows = rendered(self.base, read_rows(Path(self.described[number]["rows"])))
        rank = self.described[number]["rank"]
        return new_trainee(self.base, f"job{number}", rows, self.batch_size, rank, shuffled=self.shuffled)

    def save(self, trainee: Trainee) -> None:
        number = int(trainee.adapter.name.removeprefix("job"))
        trainee.adapter.save(Path(self.described[number]["adapter"]))
        self.seconds_to_adapter.append(time.time() - self.born)

    def train(self, group: list[int]) -> Trained:
        """Train the jobs of `group` as one cohort. Exits if a learning rate is not the required one."""
        trainees = [self.start(number) for number in group]
        rounds, _ = train(self.base, trainees, when_finished=self.save)
        for trainee in trainees:
            name = trainee.adapter.name
            rates = [results[name].learning_rate for results in rounds if name in results]
            require_schedule(rates, trainee.total_steps)
        return [batches_of(trainee) for trainee in trainees]


def main() -> None:
    given = arguments()
    jobs = Jobs(
        load_base(given.base),
        json.loads(given.jobs.read_text()),
        given.batch_size,
        given.shuffled,
        psutil.Process().create_time(),
    )
    loaded = time.time()
    everyone = list(range(len(jobs.described)))
    trained = [jobs.train(group) for group in ([[job] for job in everyone] if given.in_turn else [everyone])]
    peak = peak_bytes()
    rows = [row for group in trained for batches in group for batch in batches for row in batch]
    document = {
        "jobs": len(everyone),
        "in_turn": given.in_turn,
        "shuffled": given.shuffled,
        "seconds_to_base": loaded - jobs.born,
        "makespan_seconds": jobs.seconds_to_adapter[-1],
        "seconds_to_adapter": jobs.seconds_to_adapter,
        "tokens": sum(len(row.tokens_L) for row in rows),
        "computed_tokens": sum(computed_tokens(jobs.base, group) for group in trained),
        "peak_bytes": peak,
        "settings": {"max_step_tokens": usual_step_tokens(jobs.base), "batch_size": given.batch_size},
        "environment": recorded_environment(),
        "versions": versions_of("torch", "transformers", "peft"),
    }
    given.out.write_text(json.dumps(document, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    add_base(parser)
    parser.add_argument("--jobs", type=Path, required=True, help="the jobs, JSON")
    parser.add_argument("--batch-size", type=int, required=True, help="rows of one job per step")
    parser.add_argument("--in-turn", action="store_true", help="train one job after another, not together")
    parser.add_argument("--shuffled", action="store_true", help="take the rows in the service's order")
    add_result_file(parser)
    return parser.parse_args()


if __name__ == "__main__":
    main()
