"""Train many small jobs on the whole service, kill trainers, and pause, resume and cancel jobs.

    python -m bench.soak                          # 200 jobs, an hour at most
    python -m bench.soak --jobs 20 --seconds 900

It runs a `tunery up` of its own on a new state folder. It kills trainers until half of the jobs have ended.
So one trainer lives through the second half, and its memory can be judged. At the end, four things must hold,
else the exit code is 1:

- each job has succeeded, or was cancelled because that was asked for
- each job that succeeded has one adapter, and no other job has an adapter
- no run is open
- the memory of the trainer has stopped growing
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from sqlalchemy import func, select

from bench import ROOT
from bench.command_line import new_parser
from bench.training.running import free_port
from cli.client.client import Client, connect
from cli.client.errors import Refused
from cli.client.home import Home
from cli.client.watch import ENDED, job_path
from core.catalog import SMOLLM2
from core.database import create_database
from core.tables import Run

AT_ONCE = 12  # so many jobs have not ended, while there are jobs left
TICK_SECONDS = 1.0
KILL_SECONDS = 30.0  # mean time between two kills
PAUSES, RESUMES, CANCELS = 0.15, 0.5, 0.01  # chance of each at a tick
DRAIN_SECONDS = 900.0  # for the jobs that have not ended when the time is over
GROWTH = 1.1  # allowed factor of the trainer's memory, from the middle third of its life to the last third


@dataclass
class Soak:
    """The soak test: its requests to the service, and the state of the jobs and of the trainer's memory."""

    client: Client
    service: psutil.Process
    random: random.Random
    jobs: list[str] = field(default_factory=list)
    status: dict[str, str] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    done: Counter[str] = field(default_factory=Counter)
    memory: dict[int, list[int]] = field(default_factory=dict)  # RSS by the trainer's process id

    def run(self, jobs: int, seconds: float) -> None:
        """Keep AT_ONCE jobs alive and disturb them, until `jobs` have ended or the time is over."""
        file = self.client.upload("soak.jsonl", BytesIO(dataset(12)), "fine-tune")["id"]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not (len(self.jobs) == jobs and self.all_ended()):
            while len(self.jobs) < jobs and len(self.unfinished()) < AT_ONCE:
                self.submit(file)
            self.look()
            self.disturb(kills=2 * (len(self.jobs) - len(self.unfinished())) <= jobs)
            time.sleep(TICK_SECONDS)
        self.drain()

    def submit(self, file: str) -> None:
        hyperparameters = {"n_epochs": self.random.randint(1, 3), "batch_size": 4}
        body = {
            "model": SMOLLM2.id,
            "training_file": file,
            "method": {"type": "supervised", "supervised": {"hyperparameters": hyperparameters}},
            "adapter": {"type": "lora", "r": self.random.choice([4, 8, 16])},
        }
        job = self.client.post("/fine_tuning/jobs", body)
        self.jobs.append(job["id"])
        self.status[job["id"]] = job["status"]

    def look(self) -> None:
        """Read the status of the unfinished jobs, and the memory of the trainer."""
        for job_id in self.unfinished():
            self.status[job_id] = self.client.get(job_path(job_id))["status"]
        trainer = self.trainer()
        if trainer is not None:
            with suppress(psutil.Error):
                self.memory.setdefault(trainer.pid, []).append(trainer.memory_info().rss)

    def disturb(self, kills: bool) -> None:
        for verb, chance, statuses in (
            ("pause", PAUSES, ("queued", "running")),
            ("resume", RESUMES, ("paused",)),
            ("cancel", CANCELS, ("queued", "running", "paused")),
        ):
            candidates = [job_id for job_id in self.unfinished() if self.status[job_id] in statuses]
            if candidates and self.random.random() < chance:
                self.ask(verb, self.random.choice(candidates))
        trainer = self.trainer()
        if kills and trainer is not None and self.random.random() < TICK_SECONDS / KILL_SECONDS:
            with suppress(psutil.Error):
                trainer.kill()
                self.done["kill"] += 1

    def ask(self, verb: str, job_id: str) -> None:
        """Ask for a change of a job. A refusal is right if the job has changed since the last look."""
        try:
            self.client.post(f"{job_path(job_id)}/{verb}")
        except Refused as error:
            if error.status != 400:
                raise
            self.done[f"{verb} refused"] += 1
            return
        self.done[verb] += 1
        if verb == "cancel":
            self.cancelled.add(job_id)

    def drain(self) -> None:
        """Wait until all jobs have ended, and resume those that are paused."""
        deadline = time.monotonic() + DRAIN_SECONDS
        while not self.all_ended() and time.monotonic() < deadline:
            self.look()
            for job_id in self.unfinished():
                if self.status[job_id] == "paused":
                    self.ask("resume", job_id)
            time.sleep(TICK_SECONDS)

    def unfinished(self) -> list[str]:
        return [job_id for job_id in self.jobs if self.status[job_id] not in ENDED]

    def all_ended(self) -> bool:
        return not self.unfinished()

    def trainer(self) -> psutil.Process | None:
        for process in self.service.children(recursive=True):
            with suppress(psutil.Error):
                if "worker.train.trainer" in process.cmdline():
                    return process
        return None


def violations(soak: Soak, database_url: str) -> Iterator[str]:
    """Yield a sentence for each promise that was broken."""
    adapters = Counter(adapter["job_id"] for adapter in soak.client.every("/adapters"))
    for job_id in soak.jobs:
        status = soak.status[job_id]
        expected = "cancelled" if job_id in soak.cancelled else "succeeded"
        if status != expected:
            yield f"{job_id} is {status}, not {expected}: {soak.client.get(job_path(job_id))['error']}"
        if adapters[job_id] != (status == "succeeded"):
            yield f"{job_id} is {status} and has {adapters[job_id]} adapters"
    engine = create_database(database_url)
    with engine.connect() as connection:
        still_open = connection.scalar(select(func.count()).select_from(Run).where(Run.ended_at.is_(None)))
    engine.dispose()
    if still_open:
        yield f"{still_open} runs are still open"
    before, after = memory_over_time(soak)
    if after > GROWTH * before:
        yield f"the trainer's memory grew from {before / 1e6:,.0f} to {after / 1e6:,.0f} MB"


def memory_over_time(soak: Soak) -> tuple[float, float]:
    """Return the median RSS in the middle and in the last third of the longest trainer's life, in bytes."""
    samples = max(soak.memory.values(), key=len, default=[])
    third = len(samples) // 3
    if not third:
        return 0.0, 0.0
    return median(samples[third : 2 * third]), median(samples[-third:])


@contextmanager
def service(home: Path) -> Iterator[psutil.Process]:
    """Run `tunery up` on `home`. The process is ready in the block, and is asked to stop after it."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")},
        "TUNERY_MODEL_STORE": str(ROOT / ".tunery" / "models"),
        "TUNERY_MAX_LOST_ATTEMPTS": "100",  # so that no job fails because its trainers were killed
        "PYTHONPATH": str(ROOT),
    }
    command = [
        sys.executable,
        "-m",
        "cli.main",
        "up",
        "--home",
        str(home),
        "--port",
        str(free_port()),
        "--json",
    ]
    process = psutil.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        if not process.stdout.readline():
            sys.exit("`tunery up` did not start; see above")
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(120)


def dataset(rows: int) -> bytes:
    """Return rows of about forty tokens each."""
    messages = (
        [
            {"role": "user", "content": f"Reverse {number}."},
            {"role": "assistant", "content": f"{number} reversed is {str(number)[::-1]}."},
        ]
        for number in range(100, 100 + rows)
    )
    return "".join(json.dumps({"messages": pair}) + "\n" for pair in messages).encode()


def summary(soak: Soak, seconds: float, broken: list[str]) -> dict[str, Any]:
    before, after = memory_over_time(soak)
    return {
        "jobs": dict(Counter(soak.status.values())),
        "disturbances": dict(soak.done),
        "seconds": round(seconds),
        "trainers": len(soak.memory),
        "trainer_megabytes": [round(before / 1e6), round(after / 1e6)],
        "violations": broken,
    }


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=200, help="jobs to create (default 200)")
    parser.add_argument("--seconds", type=float, default=3600, help="time limit for all jobs (default 3600)")
    parser.add_argument("--seed", type=int, default=1, help="seed that decides the disturbances (default 1)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tunery-soak-") as folder, service(Path(folder)) as process:
        home = Home(Path(folder))
        began = time.monotonic()
        with connect(home.path, None, None) as client:
            soak = Soak(client, process, random.Random(given.seed))
            soak.run(given.jobs, given.seconds)
            broken = list(violations(soak, home.read_environment()["TUNERY_DATABASE_URL"]))
        print(json.dumps(summary(soak, time.monotonic() - began, broken), indent=1))
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
