"""Measure the processor time of a trainer's heartbeats with sixteen jobs, on a database of its own.

    python -m bench.jobs.heartbeats

Each beat runs on this thread. Beats that only renew the leases are measured, and beats in which each job has
made a step. The time of Postgres is that of all its processes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil
from sqlalchemy.orm import Session, sessionmaker

from bench.command_line import new_parser, positive
from cli.embedded import EmbeddedServers
from core.access.projects import find_or_create_project
from core.database import create_database, session_factory
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.lifecycle import Progress
from core.jobs.spec import Hyperparameters, JobSpec
from core.schema import migrate
from core.tables import File, Job
from worker.trainer.report.heartbeats import Heartbeats
from worker.trainer.report.job_lease import JobLease
from worker.trainer.report.reporter import StepMetrics

JOBS = 16
LEASE_SECONDS = 600.0
FIRST_BEATS = 20  # they fill caches, and do not count


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--beats", type=positive, default=300)
    beats = parser.parse_args().beats
    with TemporaryDirectory() as folder, EmbeddedServers(Path(folder) / "home") as servers:
        engine = create_database(servers.urls["database_url"])
        migrate(engine)
        with cohort(session_factory(engine)) as (heartbeats, leases):
            for steps in (False, True):
                before = postgres_seconds(folder)
                seconds = [beat(heartbeats, leases, step, steps) for step in range(FIRST_BEATS + beats)]
                of_postgres = (postgres_seconds(folder) - before) / len(seconds)
                thread = median(seconds[FIRST_BEATS:])
                what = "a step of each job" if steps else "the leases alone"
                print(f"{what}: thread {1e3 * thread:.1f} ms, Postgres {1e3 * of_postgres:.1f} ms a beat")
        engine.dispose()


@contextmanager
def cohort(sessions: sessionmaker[Session]) -> Iterator[tuple[Heartbeats, list[JobLease]]]:
    """Yield the leases of new jobs, which no thread renews, and the heartbeats that renew them."""
    with sessions.begin() as session:
        for _ in range(JOBS):
            submit(session)
    idle, leases = Heartbeats(sessions), []
    for _ in range(JOBS):
        with sessions.begin() as session:
            lease = lifecycle.claim(session, "a measurement", LEASE_SECONDS)
        assert lease is not None
        leases.append(JobLease(sessions, lease, time.monotonic(), idle))
    for each in leases:
        each.close()
    yield idle, leases


def submit(session: Session) -> None:
    project_id, file_id = find_or_create_project(session, "bench").id, new_id("file-")
    content = {"filename": "f", "purpose": "fine-tune", "bytes": 1, "sha256": "", "object_key": file_id}
    session.add(File(id=file_id, project_id=project_id, **content))
    session.flush()
    hyperparameters = Hyperparameters(n_epochs=1, batch_size=4, learning_rate_multiplier=1.0)
    spec = JobSpec(base_model="base", seed=1, hyperparameters=hyperparameters).model_dump()
    named = {"id": new_id("ftjob-"), "project_id": project_id, "training_file_id": file_id}
    lifecycle.submit(session, Job(**named, base_model="base", devices=1, spec=spec))


def beat(heartbeats: Heartbeats, leases: list[JobLease], step: int, steps: bool) -> float:
    """Renew all leases, and write a step of each job if `steps`. Return the thread's processor seconds."""
    for lease in leases:
        lease.progress(Progress("training", step, 1000, 0.1, 900.0, step * 100, 99.0))
        if steps:
            data = {
                "step": step,
                "total_steps": 1000,
                "train_loss": 1.5,
                "learning_rate": 1e-4,
                "grad_norm": 0.5,
            }
            lease.metrics(StepMetrics(step, data), f"Step {step}/1000: training loss=1.50")
    began = time.thread_time()
    heartbeats._renew(leases)
    return time.thread_time() - began


def postgres_seconds(folder: str) -> float:
    """Return the processor seconds of the Postgres whose data lie below `folder`."""
    seconds = 0.0
    for process in psutil.process_iter(["name", "cwd"]):
        if process.info["name"] == "postgres" and (process.info["cwd"] or "").startswith(folder):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds


if __name__ == "__main__":
    main()
