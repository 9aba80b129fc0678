"""Train many small jobs over the REST API of a whole service, from the first request to the last adapter.

    python -m bench.training.service --models .tunery/models --jobs jobs.json --batch-size 8 --out result.json

`bench/training/cohort.py` describes jobs.json. The script starts a service of its own in an empty folder
(Postgres, Valkey, S3, API, worker) and stops it at the end. One small job loads the base first, since a
service in use has loaded it too; `--cold` leaves this job out. The files are uploaded before the time starts.
A job is done when the API, asked every half second, says that it succeeded: then its adapter can be
downloaded. The service decides which jobs train together, and shuffles the rows of each job.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Any

import psutil

from bench import ROOT
from bench.command_line import add_result_file, new_parser
from bench.peers.measuring import SEED, recorded_environment, versions_of
from bench.training.running import free_port
from bench.training.workloads import restaurants
from cli.client.client import Client, connect
from cli.client.errors import GaveUp
from cli.client.watch import ENDED, job_path, raise_for_outcome
from core.catalog import SMOLLM2
from core.errors import TuneryError

TRAINER = "worker.trainer.train.trainer"
POLL_SECONDS = 0.5
START_SECONDS = 300.0
STOP_SECONDS = 120.0
LIMIT_SECONDS = 3 * 3600.0


def main() -> None:
    given = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))  # so that the service stops with us
    jobs = json.loads(given.jobs.read_text())
    with tempfile.TemporaryDirectory() as folder, service(Path(folder), given.models) as (up, client):
        if not given.cold:
            rows = "".join(json.dumps(row) + "\n" for row in islice(restaurants(random.Random(SEED)), 16))
            wait(client, [create(client, upload(client, rows), rank=4, batch_size=4)])
        files = [upload(client, Path(job["rows"]).read_text()) for job in jobs]
        began = time.perf_counter()
        pairs = zip(files, jobs, strict=True)
        ids = [create(client, file, job["rank"], given.batch_size) for file, job in pairs]
        done = wait(client, ids)
        peak = largest_peak(up)
        for job_id, job in zip(ids, jobs, strict=True):
            download(client, job_id, Path(job["adapter"]))
        tokens = sum(client.get(job_path(job_id))["trained_tokens"] for job_id in ids)
    document = {
        "jobs": len(jobs),
        "resident": not given.cold,
        "makespan_seconds": max(done) - began,
        "seconds_to_adapter": [seconds - began for seconds in done],
        "tokens": tokens,
        "peak_bytes": peak,
        "settings": {"batch_size": given.batch_size, "poll_seconds": POLL_SECONDS},
        "environment": recorded_environment(),
        "versions": versions_of("torch", "transformers", "peft"),
    }
    given.out.write_text(json.dumps(document, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--models", type=Path, required=True, help="folder of all base models")
    parser.add_argument("--jobs", type=Path, required=True, help="the jobs, JSON")
    parser.add_argument("--batch-size", type=int, required=True, help="rows of one job per step")
    parser.add_argument("--cold", action="store_true", help="do not load the base before the jobs")
    add_result_file(parser)
    return parser.parse_args()


@contextmanager
def service(
    home: Path, models: Path, settings: Mapping[str, str] | None = None
) -> Iterator[tuple[psutil.Process, Client]]:
    """Run `tunery up` in `home`, with a client of it. `settings` are more variables of its environment.

    Raises GaveUp if the service does not start in time.
    """
    # Do not measure the servers and settings that the variables of our shell name.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")}
    unmeasured = {"TUNERY_PORTABILITY_AT_PUBLICATION": "false"}  # it would take the cores of what is measured
    ours = {"TUNERY_MODEL_STORE": str(models.resolve()), "PYTHONPATH": str(ROOT), **unmeasured}
    environment = {**clean, **ours, **(settings or {})}
    command = [sys.executable, "-m", "cli.main", "up", "--home", str(home), "--port", str(free_port())]
    process = psutil.Popen(command, env=environment, stdout=sys.stderr)
    try:
        with connected(process, home) as client:
            yield process, client
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except (psutil.TimeoutExpired, subprocess.TimeoutExpired):
            for member in [*process.children(recursive=True), process]:
                with suppress(psutil.Error):
                    member.kill()
            process.wait()


def connected(process: psutil.Process, home: Path) -> Client:
    """Return a client once the service answers. Raises GaveUp after START_SECONDS, or if the service ends."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        try:
            client = connect(home, None, None)
            client.get("/models")
        except TuneryError:
            time.sleep(POLL_SECONDS)
        else:
            return client
    raise GaveUp(f"`tunery up` did not answer within {START_SECONDS:.0f} seconds")


def upload(client: Client, rows: str) -> str:
    return str(client.upload("rows.jsonl", io.BytesIO(rows.encode()), "fine-tune")["id"])


def create(client: Client, file: str, rank: int, batch_size: int) -> str:
    hyperparameters = {"n_epochs": 1, "batch_size": batch_size, "learning_rate_multiplier": 1.0}
    body = {
        "model": SMOLLM2.id,
        "training_file": file,
        "seed": SEED,
        "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
        "adapter": {"type": "lora", "r": rank, "lora_alpha": 2 * rank},
    }
    return str(client.post("/fine_tuning/jobs", body)["id"])


def wait(client: Client, ids: list[str]) -> list[float]:
    """Return the `perf_counter` at which each job was seen ended. Raises GaveUp, JobFailed, JobCancelled."""
    ended: dict[str, float] = {}
    deadline = time.monotonic() + LIMIT_SECONDS
    while len(ended) < len(ids):
        if time.monotonic() > deadline:
            raise GaveUp(f"{len(ids) - len(ended)} jobs did not end within {LIMIT_SECONDS:.0f} seconds")
        time.sleep(POLL_SECONDS)
        for job in client.every("/fine_tuning/jobs"):
            if job["id"] in ids and job["id"] not in ended and job["status"] in ENDED:
                raise_for_outcome(job)
                ended[job["id"]] = time.perf_counter()
    return [ended[job_id] for job_id in ids]


def rounds(client: Client, job_id: str) -> list[dict[str, Any]]:
    """Return what the job's events say of its rounds, in their order. The first one takes longer."""
    events = client.every(f"/fine_tuning/jobs/{job_id}/events")
    steps = [event["data"] for event in events if event["type"] == "metrics"]
    return sorted(steps, key=lambda data: int(data["step"]))


def download(client: Client, job_id: str, folder: Path) -> None:
    adapter = client.get(job_path(job_id))["adapter_id"]
    archive = io.BytesIO(b"".join(client.download(f"/adapters/{adapter}/content")))
    with zipfile.ZipFile(archive) as files:
        files.extractall(folder)


def process_of(up: psutil.Process, word: str) -> psutil.Process | None:
    """Return the process of the service with this word on its command line."""
    return next((each for each in up.children(recursive=True) if word in each.cmdline()), None)


def largest_peak(process: psutil.Process) -> int:
    """Return the largest resident set of any process of the service, in bytes: that of the trainer."""
    peaks = [0]
    for member in process.children(recursive=True):
        with suppress(OSError):
            status = Path(f"/proc/{member.pid}/status").read_text()
            peaks += [int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM")]
    return max(peaks)


if __name__ == "__main__":
    main()
