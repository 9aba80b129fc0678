"""Runs a service with a full table of jobs: servers of its own, API processes, and keys of two projects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil
import uvloop
from sqlalchemy import Engine, text
from sqlalchemy.orm import sessionmaker

from bench import ROOT
from bench.training.running import free_port
from bench.web import http_load
from bench.web.http_load import Load
from cli.embedded import EmbeddedServers
from core.access.keys import create_key
from core.access.projects import find_or_create_project
from core.catalog import SMOLLM2
from core.database import create_database, session_factory
from core.jobs import lifecycle
from core.jobs.lifecycle import Progress
from core.jobs.spec import Hyperparameters, JobSpec
from core.schema import migrate

PROCESSES = 2
CLIENTS = 16
JOBS = 100_000
RUNNING, WAITING = 50, 150
START_SECONDS = 60.0

FILL = """
INSERT INTO files (id, project_id, filename, purpose, bytes, sha256, object_key, rows)
    VALUES ('file-bench', :project, 'rows.jsonl', 'fine-tune', 1, '', '', 12);
INSERT INTO jobs (id, project_id, base_model, training_file_id, spec, status, finished_at)
    SELECT 'ftjob-' || lpad(n::text, 32, '0'), :project, :model, 'file-bench', CAST(:spec AS jsonb),
        CASE WHEN n > :ended THEN 'queued' ELSE 'cancelled' END, CASE WHEN n > :ended THEN NULL ELSE now() END
    FROM generate_series(1, :jobs) n;
INSERT INTO events (id, job_id, level, type, message)
    SELECT 'ftevent-' || id, id, 'info', 'message', 'Created' FROM jobs
"""


class Service:
    """The running API processes, their ports and jobs, and the keys of two projects."""

    def __init__(self, engine: Engine, environment: dict[str, str]) -> None:
        self.sessions = sessions = session_factory(engine)
        with sessions.begin() as session:
            projects = [find_or_create_project(session, name) for name in ("busy", "quiet")]
            self.key, self.other_key = (create_key(session, project, "bench").value for project in projects)
        self.jobs = fill(engine, sessions)
        self.ports = [free_port() for _ in range(PROCESSES)]
        self.processes = [start_api(port, environment) for port in self.ports]

    def get(self, path: str, **headers: str) -> tuple[dict[str, str], bytes]:
        url = f"http://127.0.0.1:{self.ports[0]}{path}"
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {self.key}", **headers})
        with urllib.request.urlopen(request) as answer:  # noqa: S310
            return {name.lower(): value for name, value in answer.headers.items()}, answer.read()

    def load(self, requests: list[bytes], seconds: float, clients: int = CLIENTS) -> Load:
        """Send the requests in turn, again and again. Any refusal ends the measurement."""
        turns = cycle(requests)
        load = uvloop.run(http_load.run(self.ports, lambda: next(turns), clients=clients, seconds=seconds))
        if not load.statuses.keys() <= {200, 304}:
            sys.exit(f"The API answered {dict(load.statuses)}")
        return load

    def cpu_seconds(self) -> float:
        return sum(sum(process.cpu_times()[:2]) for process in self.processes)

    def memory(self) -> int:
        return sum(process.memory_info().rss for process in self.processes)


def fill(engine: Engine, sessions: sessionmaker[Any]) -> list[str]:
    """Create JOBS jobs, of which RUNNING run and WAITING wait. Returns the ids of these."""
    hyperparameters = Hyperparameters(n_epochs=3, batch_size=4, learning_rate_multiplier=1.0)
    spec = JobSpec(base_model=SMOLLM2.id, seed=1, hyperparameters=hyperparameters).model_dump_json()
    ended = JOBS - RUNNING - WAITING
    with engine.begin() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        project = connection.scalar(text("SELECT id FROM projects WHERE name = 'busy'"))
        values = {"project": project, "model": SMOLLM2.id, "spec": spec, "ended": ended, "jobs": JOBS}
        for statement in FILL.split(";"):
            connection.execute(text(statement), values)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    with sessions.begin() as session:
        for _ in range(RUNNING):
            lease = lifecycle.claim(session, "bench", lease_seconds=86_400.0)
            assert lease is not None  # the jobs were created above
            lifecycle.renew(session, lease, Progress("training", 5, 20, 0.5, 99.0, 1000, 100.0))
    return [f"ftjob-{number:032}" for number in range(ended + 1, JOBS + 1)]


@contextmanager
def service() -> Iterator[Service]:
    """Start the servers and the API with a table of JOBS jobs, and stop them after the block."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to stop"))
    with (
        tempfile.TemporaryDirectory(prefix="tunery-api-") as folder,
        EmbeddedServers(Path(folder)) as servers,
    ):
        engine = create_database(servers.urls["database_url"])
        migrate(engine)
        running = Service(engine, environment_of(servers))
        try:
            wait_until_ready(running.ports)
            yield running
        finally:
            for process in running.processes:
                process.terminate()
            psutil.wait_procs(running.processes, timeout=30)
            engine.dispose()


def environment_of(servers: EmbeddedServers, **settings: str) -> dict[str, str]:
    """Return the environment of an API process on these servers, with these settings and no others."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("TUNERY_")},
        **{f"TUNERY_{name.upper()}": value for name, value in {**servers.urls, **settings}.items()},
        **servers.environment,
        "PYTHONPATH": str(ROOT),
    }


def start_api(port: int, environment: dict[str, str]) -> psutil.Popen:
    command = [sys.executable, "-m", "cli.main", "api", "--port", str(port)]
    return psutil.Popen(command, env=environment, cwd=ROOT, stderr=subprocess.DEVNULL)


def wait_until_ready(ports: list[int]) -> None:
    deadline = time.monotonic() + START_SECONDS
    for port in ports:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz")
                break
            except OSError:
                if time.monotonic() > deadline:
                    sys.exit(f"The API on port {port} does not answer")
                time.sleep(0.1)
