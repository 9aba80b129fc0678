"""Times what the API's page for Prometheus asks of the database, by the statements of that page."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy.orm import Session, sessionmaker

from api.monitoring import queries
from bench.scale.progress import say_step
from bench.scale.workers.figures import summary

TIMES = 20
QUERIES: dict[str, Callable[[Session], object]] = {
    "the queue": queries.queue,
    "running jobs": queries.jobs_running,
    "trainers": queries.trainers,
    "servers": queries.servers,
    "tasks": queries.tasks,
    "webhooks": queries.deliveries,
    "the ledger": lambda session: queries.stored(session, None),
}


def page_for_prometheus(sessions: sessionmaker[Session]) -> dict[str, dict[str, float]]:
    """Return the times of each query."""
    found = {}
    for name, query in QUERIES.items():
        seconds = []
        for _ in range(TIMES if name != "the ledger" else 3):
            with sessions() as session:
                began = time.perf_counter()
                query(session)
                seconds.append(time.perf_counter() - began)
        found[name] = summary(seconds)
        say_step(f"for Prometheus, {name}: {found[name]['median_ms']:.1f} ms")
    return found
