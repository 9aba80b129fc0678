"""The collector of what the database knows."""

import threading
import time
from collections.abc import Iterable
from typing import Any

import structlog
from prometheus_client import Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from api.monitoring import queries
from api.monitoring.queries import Stored
from core.database import limit_waits
from core.monitoring import declared
from core.monitoring.declared import Declared
from core.monitoring.page import gauge

FRESH_SECONDS = 5.0  # so many scrapers may ask at once
LEDGER_SECONDS = 60.0  # reading the whole ledger may take a second
STATEMENT_SECONDS = 3.0  # Prometheus waits for ten seconds in all

Value = tuple[Declared, tuple[str, ...], float]

log = structlog.get_logger()


class DatabaseFigures(Collector):
    """Reads the figures for a page, at most every `fresh_seconds`. Meanwhile it repeats the last ones.

    If the database does not answer in time, the page has none of them, instead of old ones.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        default_quota: int | None,
        fresh_seconds: float = FRESH_SECONDS,
        ledger_seconds: float = LEDGER_SECONDS,
    ) -> None:
        self._sessions, self._default_quota = sessions, default_quota
        self._fresh_seconds, self._ledger_seconds = fresh_seconds, ledger_seconds
        self._reading = threading.Lock()
        self._values: list[Value] = []
        self._read_at = self._stored_at = float("-inf")
        self._stored = Stored({}, {})

    def collect(self) -> Iterable[Metric]:
        with self._reading:
            if time.monotonic() - self._read_at >= self._fresh_seconds:
                self._values = self._read_or_say_so()
                self._read_at = time.monotonic()
            values = self._values
        families: dict[str, Any] = {}
        for metric, labels, value in values:
            families.setdefault(metric.name, gauge(metric)).add_metric(labels, value)
        return families.values()

    def _read_or_say_so(self) -> list[Value]:
        try:
            with self._sessions.begin() as session:
                limit_waits(session, lock_seconds=1, statement_seconds=STATEMENT_SECONDS)
                values = self._read(session)
        except SQLAlchemyError as error:
            log.warning("figures_not_read", error=str(error))
            return [(declared.DATABASE_READ, (), 0)]
        return [(declared.DATABASE_READ, (), 1), *values]

    def _read(self, session: Session) -> list[Value]:
        values: list[Value] = []
        for (devices, project), waiting in queries.queue(session).items():
            labels = (str(devices), project)
            values.append((declared.JOBS_QUEUED, labels, waiting.number))
            values.append((declared.QUEUE_WAIT, labels, waiting.seconds))
        values += _by_label(declared.JOBS_RUNNING, queries.jobs_running(session))
        values += _by_label(declared.WORKERS, queries.workers(session))
        values += _by_label(declared.SERVERS, queries.servers(session))
        waiting_tasks, running_tasks = queries.tasks(session)
        values += _by_label(
            declared.TASKS_QUEUED, {kind: each.number for kind, each in waiting_tasks.items()}
        )
        values += _by_label(declared.TASK_WAIT, {kind: each.seconds for kind, each in waiting_tasks.items()})
        values += _by_label(declared.TASKS_RUNNING, running_tasks)
        deliveries = queries.deliveries(session)
        values.append((declared.DELIVERIES_WAITING, (), deliveries.number))
        values.append((declared.DELIVERIES_WAIT, (), deliveries.seconds))
        stored = self._ledger(session)
        values += _by_label(declared.STORED, stored.by_owner)
        values += _by_label(declared.QUOTA_USED, stored.quotas)
        return values

    def _ledger(self, session: Session) -> Stored:
        if time.monotonic() - self._stored_at >= self._ledger_seconds:
            self._stored = queries.stored(session, self._default_quota)
            self._stored_at = time.monotonic()
        return self._stored


def _by_label(metric: Declared, values: Any) -> list[Value]:
    return [(metric, (label,), value) for label, value in values.items()]
