"""Measure what it saves that the pairs of an objective are computed in one pass.

    python -m bench.engine.objectives --base .tunery/models/DIR --out bench/results/objectives.json

For each objective, one trainee makes steps on generated pairs. Every step is computed twice: in one pass, and
in two passes, as KTO's steps are. The processor time of both is compared, so that other work on the machine
matters little. The log-probabilities of the base alone are known before, as from the second epoch on.
"""

from __future__ import annotations

import json
import time
from statistics import median
from typing import Any

import torch

from bench.command_line import add_base, add_result_file, new_parser, positive
from bench.training.machine import describe
from bench.training.ours import load_base, rendered, usual_step_tokens
from bench.training.workloads import preference
from core.catalog import SMOLLM2
from core.jobs.spec import Hyperparameters, JobSpec, LoraAdapter
from core.objectives.dpo import Dpo
from core.objectives.orpo import Orpo
from core.objectives.simpo import Simpo
from worker.engine.adapters.low_rank import TrainableAdapter
from worker.engine.base.base_model import ResidentBase
from worker.engine.step.context import PassContext
from worker.engine.step.loop import train_round
from worker.engine.step.trainee import StepResult, Trainee
from worker.rows.row import Row

OBJECTIVES = {"dpo": Dpo(), "orpo": Orpo(), "simpo": Simpo()}
PAIRS_A_STEP = 4


def main() -> None:
    parser = new_parser(__doc__)
    add_base(parser)
    add_result_file(parser)
    parser.add_argument("--steps", type=positive, default=5, help="measured steps of each (default 5)")
    given = parser.parse_args()
    base = load_base(given.base)
    rows = rendered(base, preference(None, PAIRS_A_STEP), "preference")
    found = {name: measure(base, objective, rows, given.steps) for name, objective in OBJECTIVES.items()}
    report = {"machine": vars(describe()), "tokens": sum(len(row.tokens_L) for row in rows), "by": found}
    given.out.write_text(json.dumps(report, indent=1) + "\n")


def measure(base: ResidentBase, objective: Any, rows: list[Row], steps: int) -> dict[str, float]:
    """Return the median processor seconds of a step in one pass and in two, and their ratio."""
    one, two = (trainee_of(base, f"{objective.type}{passes}", objective, rows) for passes in (1, 2))
    assert two.objective is not None
    two.objective.examples_apart = False
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for step in range(steps + 1):
        for passes, trainee in ((1, one), (2, two)):
            began = time.process_time()
            make_step(base, trainee)
            if step:  # in the first step, the base alone is computed too
                seconds[passes].append(time.process_time() - began)
    in_one, in_two = median(seconds[1]), median(seconds[2])
    found = {"one pass": in_one, "two passes": in_two, "ratio": in_two / in_one}
    print(objective.type, json.dumps(found), flush=True)
    return found


def trainee_of(base: ResidentBase, name: str, objective: Any, rows: list[Row]) -> Trainee:
    spec = JobSpec(
        base_model=SMOLLM2.id,
        seed=0,
        hyperparameters=Hyperparameters(n_epochs=50, batch_size=PAIRS_A_STEP, learning_rate_multiplier=0.1),
        adapter=LoraAdapter(r=16, lora_alpha=32),
        objective=objective,
    )
    return Trainee(TrainableAdapter(base, name, spec.low_rank, spec.seed), spec, rows)


def make_step(base: ResidentBase, trainee: Trainee) -> None:
    (result,) = train_round(PassContext(base, usual_step_tokens(base)), [trainee]).values()
    assert isinstance(result, StepResult), result


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
