"""Learn a task through a service, as a user gets it: from rewards, and from the right answers.

    python -m bench.reinforce.ours --models DIR --setup setup.json --chats chats.jsonl --adapters DIR \
        --out result.json

The script starts a service of its own (`tunery up`), uploads the files, and creates one job of each kind over
the API, one after the other. The folder of the adapters then has `reinforcement` and `supervised`. The result
is that of the job with rewards.
"""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from itertools import pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

from bench.command_line import add_models, add_result_file, new_parser
from bench.peers.measuring import MAX_GRAD_NORM, recorded_environment, versions_of
from bench.peers.rewards import LearningResult, Row, Setup
from bench.training import service as services
from cli.client.client import Client
from core.catalog import SMOLLM2
from worker.engine.step.data_order import order_of

REINFORCEMENT, SUPERVISED = "reinforcement", "supervised"
REWARD = "full_valid_mean_reward"


def request(setup: Setup, method: str, options: dict[str, Any], **files: str) -> dict[str, Any]:
    """Return the request for a job. All methods have the same adapter, batches and learning rate."""
    hyperparameters = {"n_epochs": 1, "batch_size": setup.batch_size, "learning_rate_multiplier": 1.0}
    hyperparameters |= options.pop("hyperparameters", {})
    return {
        "model": SMOLLM2.id,
        "seed": setup.seed,
        "method": {"type": method, method: {"hyperparameters": hyperparameters, **options}},
        "adapter": {"type": "lora", "r": setup.rank, "lora_alpha": 2 * setup.rank},
        "training": {
            "learning_rate": setup.learning_rate,
            "lr_scheduler_type": "constant",
            "warmup_ratio": 0,
            "max_grad_norm": MAX_GRAD_NORM,
        },
        **files,
    }


def from_rewards(setup: Setup, training: str, validation: str) -> dict[str, Any]:
    names = ("num_generations", "max_completion_tokens", "eval_interval")
    options = {
        "grader": setup.grader,
        "hyperparameters": {name: getattr(setup, name) for name in names},
    }
    return request(setup, REINFORCEMENT, options, training_file=training, validation_file=validation)


def in_file_order(taken: list[Row], seed: int) -> list[Row]:
    """Return rows so that the service, which shuffles them, takes them in the order given."""
    order = order_of(seed, 0, len(taken)).tolist()
    return [row for _, row in sorted(zip(order, taken, strict=True), key=itemgetter(0))]


def lines(rows: list[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def learn(client: Client, body: dict[str, Any], adapter: Path) -> str:
    """Run a job to its end, download its adapter, and return its id."""
    job_id = str(client.post("/fine_tuning/jobs", body)["id"])
    services.wait(client, [job_id])
    services.download(client, job_id, adapter)
    return job_id


def seconds_of(rounds: list[dict[str, Any]]) -> list[float]:
    """Return the seconds of each step: of its sampling, its grading and its update."""
    updated = [0.0, *(float(each["trained_seconds"]) for each in rounds)]
    updates = [after - before for before, after in pairwise(updated)]
    return [
        update + sum(each["timing"]["step"].values()) for update, each in zip(updates, rounds, strict=True)
    ]


def main() -> None:
    parser = new_parser(__doc__)
    add_models(parser)
    parser.add_argument("--setup", type=Path, required=True, help="prompts, grader and settings, JSON")
    parser.add_argument("--chats", type=Path, required=True, help="the same rows with their answers, JSONL")
    parser.add_argument("--adapters", type=Path, required=True, help="folder to save the adapters in")
    add_result_file(parser)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that the service stops with us
    setup = Setup.read(given.setup)
    with tempfile.TemporaryDirectory() as home, services.service(Path(home), given.models) as (up, client):
        began = time.perf_counter()
        training = services.upload(client, lines(in_file_order(setup.training, setup.seed)))
        validation = services.upload(client, lines(setup.validation))
        job_id = learn(client, from_rewards(setup, training, validation), given.adapters / REINFORCEMENT)
        seconds, peak = time.perf_counter() - began, services.largest_peak(up)
        rounds = services.rounds(client, job_id)
        chats = [json.loads(line) for line in given.chats.read_text().splitlines()]
        answered = services.upload(client, lines(in_file_order(chats, setup.seed)))
        learn(client, request(setup, SUPERVISED, {}, training_file=answered), given.adapters / SUPERVISED)
    steps = [each for each in rounds if each["step"] > 0]
    LearningResult(
        step_seconds=seconds_of(steps),
        step_rewards=[each["train_mean_reward"] for each in steps],
        validations=[(each["step"], each[REWARD]) for each in rounds if REWARD in each],
        seconds_to_adapter=seconds,
        peak_bytes=peak,
        environment=recorded_environment(),
        versions=versions_of("torch", "transformers", "peft"),
    ).write(given.out)


if __name__ == "__main__":
    main()
