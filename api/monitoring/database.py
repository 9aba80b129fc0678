"""The collector of what the database knows."""

from collections.abc import Iterable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import Any

from prometheus_client import Metric
from prometheus_client.registry import Collector
from sqlalchemy.orm import Session, sessionmaker

from api.monitoring import queries
from api.monitoring.reading import Reading
from core.database import limit_waits
from core.monitoring import declared
from core.monitoring.declared import Declared
from core.monitoring.page import gauge

FRESH_SECONDS = 5.0  # so many scrapers may ask at once
LEDGER_SECONDS = 60.0  # reading the whole ledger may take a second
WAIT_SECONDS = 3.0  # Prometheus waits for ten seconds in all

Value = tuple[Declared, tuple[str, ...], float]


class DatabaseFigures(Collector):
    """Reads the figures for a page, at most every `fresh_seconds`. Meanwhile it repeats the last ones.

    If the database does not answer within `wait_seconds`, the page has none of them, instead of old ones. The
    ledger is read apart: if only that fails, only its figures are missing.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        default_quota: int | None,
        fresh_seconds: float = FRESH_SECONDS,
        ledger_seconds: float = LEDGER_SECONDS,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._sessions, self._default_quota, self._wait_seconds = sessions, default_quota, wait_seconds
        self._figures = Reading("figures", self._read, fresh_seconds)
        self._ledger = Reading("ledger", self._read_ledger, ledger_seconds)

    def collect(self) -> Iterable[Metric]:
        asked = [self._figures.ask(), self._ledger.ask()]
        wait(asked, self._wait_seconds)
        figures, ledger = [each.result() if each.done() else None for each in asked]
        values: list[Value] = [(declared.DATABASE_READ, (), figures is not None)]
        if figures is not None:
            values += figures + (ledger or [])
        families: dict[str, Any] = {}
        for metric, labels, value in values:
            families.setdefault(metric.name, gauge(metric)).add_metric(labels, value)
        return families.values()

    @contextmanager
    def _session(self) -> Iterator[Session]:
        with self._sessions.begin() as session:
            limit_waits(session, lock_seconds=1, statement_seconds=WAIT_SECONDS)
            yield session

    def _read(self) -> list[Value]:
        with self._session() as session:
            return _of_the_service(session)

    def _read_ledger(self) -> list[Value]:
        with self._session() as session:
            stored = queries.stored(session, self._default_quota)
        return _by_label(declared.STORED, stored.by_owner) + _by_label(declared.QUOTA_USED, stored.quotas)


def _of_the_service(session: Session) -> list[Value]:
    values: list[Value] = []
    for (devices, project), waiting in queries.queue(session).items():
        labels = (str(devices), project)
        values.append((declared.JOBS_QUEUED, labels, waiting.number))
        values.append((declared.QUEUE_WAIT, labels, waiting.seconds))
    values += _by_label(declared.JOBS_RUNNING, queries.jobs_running(session))
    values += _by_label(declared.TRAINERS, queries.trainers(session))
    values += _by_label(declared.SERVERS, queries.servers(session))
    waiting_tasks, running_tasks = queries.tasks(session)
    values += _by_label(declared.TASKS_QUEUED, {kind: each.number for kind, each in waiting_tasks.items()})
    values += _by_label(declared.TASK_WAIT, {kind: each.seconds for kind, each in waiting_tasks.items()})
    values += _by_label(declared.TASKS_RUNNING, running_tasks)
    deliveries = queries.deliveries(session)
    values.append((declared.DELIVERIES_WAITING, (), deliveries.number))
    values.append((declared.DELIVERIES_WAIT, (), deliveries.seconds))
    return values


def _by_label(metric: Declared, values: Any) -> list[Value]:
    return [(metric, (label,), value) for label, value in values.items()]
