"""What Postgres and the system say: processor time, what sessions wait for, writes, bytes of rows."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Any

import psutil
import psycopg
import redis

from bench.scale.quick import connect_as_admin
from cli.embedded import EmbeddedServers

WATCH_SECONDS = 0.1
BUSY = """
SELECT coalesce(wait_event_type || ': ' || wait_event, 'computes')
FROM pg_stat_activity
WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()
"""
CLAIMS = """
SELECT n_tup_upd, n_tup_hot_upd, n_dead_tup, pg_table_size(relid) AS table_bytes,
    pg_indexes_size(relid) AS index_bytes, autovacuum_count
FROM pg_stat_user_tables WHERE relname = 'runs'
"""
INDEXES = """
SELECT indexrelname, pg_relation_size(indexrelid) FROM pg_stat_user_indexes
WHERE relname = 'runs' ORDER BY indexrelname
"""
WRITTEN = "SELECT wal_bytes::float8 FROM pg_stat_wal"
# A job's rows are in several tables; those of what it has trained, such as its adapter, are left out
OF_A_JOB = ("jobs", "job_names", "runs")
SIZES = """
SELECT relname, greatest(reltuples, 0)::float8, pg_table_size(oid), pg_indexes_size(oid)
FROM pg_class WHERE relname = ANY(%s) AND relkind = 'r'
"""


@dataclass
class Cost:
    """What a measurement has taken: processor time of Postgres and of ours in seconds, bytes of its log."""

    postgres: float = 0.0
    log_bytes: float = 0.0
    driver: float = 0.0


class Evidence:
    """Looks at the servers of a measurement. The superuser of the database looks, by a session of its own."""

    def __init__(self, servers: EmbeddedServers) -> None:
        pid_file = servers.home / "postgres" / "data" / "postmaster.pid"
        self._postgres = psutil.Process(int(pid_file.read_text().split()[0]))
        self._own = psutil.Process()
        self._admin = connect_as_admin(servers)
        self._broker = redis.Redis.from_url(servers.urls["broker_url"])

    def close(self) -> None:
        self._admin.close()
        self._broker.close()

    def now(self) -> Cost:
        """Return what has been taken so far."""
        own = self._own.cpu_times()
        return Cost(self._seconds_of_postgres(), self._one(WRITTEN)[0], own.user + own.system)

    def since(self, before: Cost) -> Cost:
        now = self.now()
        return Cost(
            now.postgres - before.postgres, now.log_bytes - before.log_bytes, now.driver - before.driver
        )

    def seconds_of_valkey(self) -> float:
        used: Any = self._broker.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])

    def claims(self) -> dict[str, Any]:
        """Return the updates of the table of claims, how many of them stayed on their page, and its bytes."""
        with self._admin.cursor(row_factory=psycopg.rows.dict_row) as cursor:
            found = cursor.execute(CLAIMS).fetchone() or {}
        return dict(found) | {"indexes": dict(self._admin.execute(INDEXES).fetchall())}

    def bytes_of_rows(self) -> dict[str, dict[str, float]]:
        """Return the rows of the largest tables, and the bytes of one row and of its entries in indexes."""
        rows = self._admin.execute(SIZES, [[*OF_A_JOB, "events", "metrics"]]).fetchall()
        return {
            name: {"rows": count, "row_bytes": table / count, "index_bytes": indexes / count}
            for name, count, table, indexes in rows
            if count
        }

    async def watch(self, waits: Counter[str]) -> None:
        """Count what the busy sessions wait for, again and again, until cancelled."""
        while True:
            waits.update(row[0] for row in self._admin.execute(BUSY))
            waits["samples"] += 1
            await asyncio.sleep(WATCH_SECONDS)

    def _one(self, query: str) -> tuple[Any, ...]:
        return self._admin.execute(query).fetchone() or (0,)

    def _seconds_of_postgres(self) -> float:
        """Return the processor time of all processes of Postgres, also of those that have ended."""
        seconds = 0.0
        for process in [self._postgres, *self._postgres.children()]:
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:  # from now on, its parent counts it
                continue
            seconds += times.user + times.system
            if process == self._postgres:
                seconds += times.children_user + times.children_system
        return seconds
