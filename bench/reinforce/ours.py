"""Learn a task through a service, as a user gets it: from rewards, and from the right answers.

    python -m bench.reinforce.ours --models DIR --setup setup.json --chats chats.jsonl --adapters DIR \
        --out result.json

The script starts a service of its own (`tunery up`), uploads the files, and creates one job of each kind over
the API, one after the other. The folder of the adapters then has `reinforcement` and `supervised`. The result
is that of the job with rewards. If rows are for a warm-up, a supervised job learns them first, both jobs
continue from it, and the folder has `warm_up` too.
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
from bench.reinforce.endpoints import SETTINGS, offered
from bench.training import service as services
from cli.client.client import Client
from cli.client.watch import job_path
from core.catalog import SMOLLM2
from worker.engine.step.data_order import order_of

REINFORCEMENT, SUPERVISED, WARM_UP = "reinforcement", "supervised", "warm_up"
WARM_UP_EPOCHS = 4
REWARD = "full_valid_mean_reward"


def request(setup: Setup, method: str, options: dict[str, Any], **fields: str) -> dict[str, Any]:
    """Return the request for a job. All methods have the same adapter, batches and learning rate.

    `fields` are its files, and the model if it is another one than the base.
    """
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
        **fields,
    }


def from_rewards(
    setup: Setup, training: str, validation: str, model: str = SMOLLM2.id, **options: Any
) -> dict[str, Any]:
    """Return the request for a job from rewards. `options` are those of its method, beside the settings."""
    names = ("num_generations", "max_completion_tokens", "eval_interval")
    options["hyperparameters"] = {name: getattr(setup, name) for name in names}
    files = {"training_file": training, "validation_file": validation}
    return request(setup, REINFORCEMENT, options, model=model, **files)


def from_answers(
    client: Client, setup: Setup, chats: list[Row], model: str, n_epochs: int = 1
) -> dict[str, Any]:
    """Upload the chats, and return the request for a supervised job on them."""
    file = services.upload(client, lines(in_file_order(chats, setup.seed)))
    options = {"hyperparameters": {"n_epochs": n_epochs}}
    return request(setup, SUPERVISED, options, model=model, training_file=file)


def warmed_up(client: Client, setup: Setup, chats: list[Row], adapter: Path) -> str:
    """Return the model with which the jobs begin: the base, or that of a supervised job on the first rows."""
    if not setup.warm_up_rows:
        return SMOLLM2.id
    asked = from_answers(client, setup, chats[: setup.warm_up_rows], SMOLLM2.id, WARM_UP_EPOCHS)
    job_id = learn(client, asked, adapter)
    return str(client.get(job_path(job_id))["fine_tuned_model"])


def in_file_order(taken: list[Row], seed: int) -> list[Row]:
    """Return rows so that the service, which shuffles them, takes them in the order given."""
    order = order_of(seed, 0, len(taken)).tolist()
    return [row for _, row in sorted(zip(order, taken, strict=True), key=itemgetter(0))]


def lines(rows: list[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def finish(client: Client, body: dict[str, Any]) -> str:
    """Run a job to its end, and return its id."""
    job_id = str(client.post("/fine_tuning/jobs", body)["id"])
    services.wait(client, [job_id])
    return job_id


def learn(client: Client, body: dict[str, Any], adapter: Path) -> str:
    """Run a job to its end, download its adapter, and return its id."""
    job_id = finish(client, body)
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
    chats = [json.loads(line) for line in given.chats.read_text().splitlines()]
    with (
        tempfile.TemporaryDirectory() as home,
        services.service(Path(home), given.models, SETTINGS) as (up, client),
        offered(setup.grader) as grader,
    ):
        model = warmed_up(client, setup, chats, given.adapters / WARM_UP)
        began = time.perf_counter()
        training = services.upload(client, lines(in_file_order(setup.training, setup.seed)))
        validation = services.upload(client, lines(setup.validation))
        asked = from_rewards(setup, training, validation, model, grader=grader)
        job_id = learn(client, asked, given.adapters / REINFORCEMENT)
        seconds, peak = time.perf_counter() - began, services.largest_peak(up)
        rounds = services.rounds(client, job_id)
        learn(client, from_answers(client, setup, chats, model), given.adapters / SUPERVISED)
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
