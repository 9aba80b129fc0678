"""The queries of workers and of the API itself: claims, heartbeats, scans, positions, events."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session, sessionmaker

from api.jobs.events.feed import Cursor, news_of
from core.jobs import lifecycle, queue
from core.jobs.events import record_event
from core.jobs.lifecycle import Lease, Progress
from core.tables import Job, Metric

OWNER = "a measurement:0"
LEASE_SECONDS = 600.0
CLAIMS = 200
LISTENERS = 300


def claims(sessions: sessionmaker[Session]) -> Iterator[Callable[[], object]]:
    """Yield claims, each with its commit. They are given back afterwards."""
    leases: list[Lease] = []

    def claim() -> None:
        with sessions.begin() as session:
            lease = lifecycle.claim(session, OWNER, LEASE_SECONDS, project_jobs=100)
            assert lease is not None
            leases.append(lease)

    yield from [claim] * CLAIMS
    give_back(sessions)


def heartbeats(sessions: sessionmaker[Session]) -> Iterator[Callable[[], object]]:
    """Yield heartbeats that write one step each: its metrics and its event."""
    with sessions.begin() as session:
        lease = lifecycle.claim(session, OWNER, LEASE_SECONDS)
        assert lease is not None

    def beat(step: int) -> None:
        data = {"step": step, "train_loss": 1.5, "valid_loss": None, "tokens_per_second": 900.5}
        with sessions.begin() as session:
            lifecycle.renew(session, lease, Progress("training", step, CLAIMS, 0.1, 900.5, step, 9.0))
            session.execute(insert(Metric).values(job_id=lease.job_id, step=step, data=data))
            record_event(session, lease.job_id, f"Step {step}", data=data, type="metrics")

    yield from (lambda step=step: beat(step) for step in range(CLAIMS))
    give_back(sessions)


def scans(sessions: sessionmaker[Session]) -> Iterator[Callable[[], object]]:
    """Yield scans for lost trainers and for waiting jobs."""

    def scan() -> None:
        with sessions.begin() as session:
            lifecycle.lose_expired_claims(session, 5)
            queue.jobs_wait(session, None)

    yield from [scan] * CLAIMS


def positions(sessions: sessionmaker[Session]) -> Iterator[Callable[[], object]]:
    """Yield the computation of all positions in the queue, of which each API process keeps the answer."""

    def compute() -> None:
        with sessions() as session:
            session.execute(queue.positions()).all()

    yield from [compute] * CLAIMS


def feeds(sessions: sessionmaker[Session]) -> Iterator[Callable[[], object]]:
    """Yield the query for the news of LISTENERS listeners, of which none has any."""
    with sessions() as session:
        jobs = session.scalars(select(Job.id).where(Job.status == "running").limit(LISTENERS)).all()
        last = session.scalars(text("SELECT max(sequence) FROM events")).one()
    at = [Cursor(job, last) for job in jobs]

    def ask() -> None:
        with sessions() as session:
            session.execute(news_of(at)).all()

    yield from [ask] * CLAIMS


def give_back(sessions: sessionmaker[Session]) -> None:
    with sessions.begin() as session:
        lifecycle.release_claims_of(session, OWNER, "Measured")


def milliseconds(calls: Iterator[Callable[[], object]]) -> list[float]:
    """Return the time of each call in milliseconds, without the first five, which fill caches."""
    times = []
    for call in calls:
        began = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - began))
    return times[5:]


WRITES: dict[str, Callable[[sessionmaker[Session]], Iterator[Callable[[], object]]]] = {
    "worker: a claim": claims,
    "worker: a heartbeat with a step": heartbeats,
    "worker: a scan": scans,
    "API: all positions in the queue": positions,
    "API: the news of 300 listeners": feeds,
}
