"""Measure how soon a job trains on a service whose base model is already loaded.

    python -m bench.jobs.warm_start                       # the service of `tunery up` in this folder
    TUNERY_BASE_URL=… TUNERY_API_KEY=… python -m bench.jobs.warm_start --runs 10 --out warm.json

First, one small job runs to its end. Then each run sends POST /v1/fine_tuning/jobs and reads the job every 10
ms until it trains. The job is cancelled, and the next one follows. The time counts from before the POST to
the first answer that shows the phase "training" or a finished step. The trainer reports its phase every half
second, so a time may be up to 0.5 s too long. No other job should run meanwhile.
"""

from __future__ import annotations

import io
import json
import os
import random
import sys
import time
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from bench.command_line import new_parser
from bench.pages.tables import markdown
from bench.training.workloads import SEED, word_problems
from cli.client.client import Client, connect
from cli.client.errors import GaveUp
from cli.client.home import DEFAULT_HOME
from cli.client.watch import ENDED, job_path, raise_for_outcome
from core.catalog import SMOLLM2
from core.errors import TuneryError
from worker.trainer.report.heartbeats import BEAT_SECONDS

ROWS, BATCH_SIZE = 16, 4
EPOCHS_OF_A_MEASURED_JOB = 50  # so many that the job is still running when it is seen
POLL_SECONDS = 0.01
SETTLE_SECONDS = 3.0  # from the cancellation until the trainer has noticed it and waits
LIMIT_SECONDS = 600.0


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--home", type=Path, default=Path(os.environ.get("TUNERY_HOME", DEFAULT_HOME)))
    parser.add_argument("--model", default=SMOLLM2.id, help=f"the base model (default {SMOLLM2.id})")
    parser.add_argument("--runs", type=int, default=5, help="number of measured jobs (default 5)")
    parser.add_argument("--out", type=Path, help="file that also gets the JSON")
    given = parser.parse_args()
    url, key = os.environ.get("TUNERY_BASE_URL"), os.environ.get("TUNERY_API_KEY")
    try:
        with connect(given.home, url, key) as client:
            seconds = measure(client, given.model, max(1, given.runs))
    except TuneryError as error:
        sys.exit(str(error))
    report = summary(given.model, seconds)
    print(table(report))
    print(json.dumps(report))
    if given.out:
        given.out.write_text(json.dumps(report, indent=1) + "\n")


def measure(client: Client, model: str, runs: int) -> list[float]:
    """Return the seconds from POST to training of each run, with `model` loaded. Raises TuneryError."""
    content = "".join(json.dumps(row) + "\n" for row in islice(word_problems(random.Random(SEED)), ROWS))
    file = client.upload("warm-start.jsonl", io.BytesIO(content.encode()), "fine-tune")["id"]
    print("training one job, so that the base model is loaded", file=sys.stderr)
    raise_for_outcome(wait_until_ended(client, create(client, model, file, epochs=1)))
    return [seconds_to_training(client, model, file) for _ in range(runs)]


def create(client: Client, model: str, file: str, epochs: int) -> str:
    hyperparameters = {"n_epochs": epochs, "batch_size": BATCH_SIZE}
    method = {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}}
    job = client.post("/fine_tuning/jobs", {"model": model, "training_file": file, "method": method})
    return str(job["id"])


def seconds_to_training(client: Client, model: str, file: str) -> float:
    """Create a job, wait until it trains, cancel it, and return the seconds. Raises TuneryError."""
    began = time.perf_counter()
    job_id = create(client, model, file, EPOCHS_OF_A_MEASURED_JOB)
    try:
        while not trains(client.get(job_path(job_id))):
            if time.perf_counter() - began > LIMIT_SECONDS:
                raise GaveUp(f"The job {job_id} did not train within {LIMIT_SECONDS:.0f} seconds")
            time.sleep(POLL_SECONDS)
        seconds = time.perf_counter() - began
    finally:
        if client.get(job_path(job_id))["status"] not in ENDED:
            client.post(job_path(job_id) + "/cancel")
    wait_until_ended(client, job_id)
    time.sleep(SETTLE_SECONDS)
    print(f"{job_id}: {seconds:.2f} s", file=sys.stderr)
    return seconds


def trains(job: dict[str, Any]) -> bool:
    """Return whether the job trains. Raises JobFailed or JobCancelled if it has failed or was cancelled."""
    raise_for_outcome(job)
    return bool(job["progress"]["phase"] == "training" or job["progress"]["step"] >= 1)


def wait_until_ended(client: Client, job_id: str) -> dict[str, Any]:
    """Return the job once it has ended. Raises GaveUp after LIMIT_SECONDS."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < deadline:
        job = client.get(job_path(job_id))
        if job["status"] in ENDED:
            return job
        time.sleep(0.2)
    raise GaveUp(f"The job {job_id} did not end within {LIMIT_SECONDS:.0f} seconds")


def summary(model: str, seconds: list[float]) -> dict[str, Any]:
    """Return the result document. All times are in seconds."""
    return {
        "model": model,
        "runs": len(seconds),
        "min_seconds": round(min(seconds), 3),
        "median_seconds": round(median(seconds), 3),
        "max_seconds": round(max(seconds), 3),
        "resolution_seconds": BEAT_SECONDS,
        "seconds": [round(one, 3) for one in seconds],
    }


def table(report: dict[str, Any]) -> str:
    times = [f"{report[name]:.2f}" for name in ("min_seconds", "median_seconds", "max_seconds")]
    return (
        f"From the POST to training, with {report['model']} loaded:\n\n"
        + markdown(("jobs", "min, s", "median, s", "max, s"), [(str(report["runs"]), *times)])
        + f"\nThe trainer reports every {report['resolution_seconds']} s: a time may be too long by up to "
        "that much.\n"
    )


if __name__ == "__main__":
    main()
