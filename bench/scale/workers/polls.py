"""Clients that poll the API as the dashboard does: a job, a page of jobs, and the events of a job."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import get_context

import psutil
import uvloop
from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from bench.training.running import free_port
from bench.web import http_load
from bench.web.api_service import environment_of, start_api, wait_until_ready
from bench.web.http_load import Load
from cli.embedded import EmbeddedServers
from core.access.keys import create_key
from core.tables import Job, Project

JOBS = "/v1/fine_tuning/jobs"
PAUSE_SECONDS = 2.0  # the dashboard asks for a running job every two seconds
CLIENTS = 50


@dataclass
class Polls:
    """The API process, and the requests of each kind: one for each project, with a key of that project."""

    port: int
    api: psutil.Process
    requests: dict[str, list[bytes]]

    def seconds_of_the_api(self) -> float:
        times = self.api.cpu_times()
        return float(times.user + times.system)


@contextmanager
def polled_api(
    servers: EmbeddedServers, sessions: sessionmaker[Session], projects: list[str]
) -> Iterator[Polls]:
    """Run an API process on these servers."""
    port = free_port()
    process = start_api(port, environment_of(servers))
    try:
        wait_until_ready([port])
        yield Polls(port, process, _requests(sessions, projects))
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def load_process() -> Iterator[ProcessPoolExecutor]:
    """Run a process that puts load on the API, apart from the coroutines of the workers."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool


def poll(
    port: int, requests: list[bytes], seconds: float, clients: int = CLIENTS, pause: float = PAUSE_SECONDS
) -> Load:
    """Let clients poll for so many seconds, and return what they were answered."""
    turns = cycle(requests)
    return uvloop.run(
        http_load.run([port], lambda: next(turns), clients=clients, seconds=seconds, pause=pause)
    )


def _requests(sessions: sessionmaker[Session], projects: list[str]) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {"poll of a job": [], "page of jobs": [], "page of events": []}
    with sessions.begin() as session:
        for project in projects:
            key = create_key(session, session.get_one(Project, project), "measured").value
            newest = select(Job.id).where(Job.project_id == project).order_by(Job.id.desc()).limit(1)
            job = session.scalars(newest).one()
            found["poll of a job"].append(http_load.get(f"{JOBS}/{job}", key))
            found["page of jobs"].append(http_load.get(JOBS, key))
            found["page of events"].append(http_load.get(f"{JOBS}/{job}/events", key))
    return found
