"""The requests that clients and the dashboard send, each with many ids, so that no cache has all answers."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, text

from bench.scale.numbered import DAYS, LONG_JOBS

JOBS = "/v1/fine_tuning/jobs"
USAGE = "/v1/organization/usage/fine_tuning"
MANY = 200  # so many ids are asked for in turn
LARGE = "proj_" + "0" * 32


@dataclass(frozen=True)
class Ask:
    """Paths that one kind of request asks for in turn, with a key of the large project or of the operator."""

    paths: list[str]
    of_operator: bool = False


class Ids:
    """Ids of the large project, spread over its whole time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.ended = self._some("FROM jobs WHERE project_id = :large AND status = 'succeeded'")
        self.queued = self._some("FROM jobs WHERE project_id = :large AND status = 'queued'")
        self.running = self._some("FROM jobs WHERE project_id = :large AND status = 'running'")
        self.sweeps = self._some("FROM jobs WHERE project_id = :large AND is_sweep")
        self.long_sweeps = self._some(
            "FROM candidate_metrics WHERE step = 1000 ORDER BY job_id", "DISTINCT job_id", LONG_JOBS
        )
        self.files = self._some("FROM files WHERE project_id = :large")
        self.adapters = self._some("FROM adapters WHERE project_id = :large")
        self.audit = self._some("FROM audit_logs WHERE project_id = :large")
        self.models = self._some(
            "FROM jobs WHERE project_id = :large AND status = 'succeeded'", "fine_tuned_model"
        )
        self.long = self._some("FROM metrics GROUP BY job_id ORDER BY count(*) DESC", "job_id", LONG_JOBS)
        inside = "(SELECT id FROM events WHERE job_id = jobs.id ORDER BY sequence OFFSET {} LIMIT 1)"
        self.events = self._pairs(self.ended, inside.format(50))
        self.deep_events = self._pairs(self.long, inside.format(self._events_of(self.long[0]) // 2))

    def _some(self, where: str, column: str = "id", count: int = MANY) -> list[str]:
        order = "" if "ORDER BY" in where else f"ORDER BY md5({column})"
        query = f"SELECT {column} {where} {order} LIMIT {count}"
        return list(self._connection.scalars(text(query), {"large": LARGE} if ":large" in query else {}))

    def _pairs(self, jobs: list[str], event: str) -> list[tuple[str, str]]:
        query = text(f"SELECT id, {event} FROM jobs WHERE id = ANY(:jobs)")  # noqa: S608
        return [(job, found) for job, found in self._connection.execute(query, {"jobs": jobs})]

    def _events_of(self, job: str) -> int:
        return self._connection.scalars(
            text("SELECT count(*) FROM events WHERE job_id = :job"), {"job": job}
        ).one()


def requests(engine: Engine) -> dict[str, Ask]:
    """Return all requests by what they ask for."""
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        ids = Ids(connection)
    now = int(time.time())
    year = f"?start_time={now - DAYS * 86_400}&end_time={now}"
    member: dict[str, Any] = {
        "jobs: first page": [JOBS],
        "jobs: first page of 100": [f"{JOBS}?limit=100"],
        "jobs: a page inside": [f"{JOBS}?after={job}" for job in ids.ended],
        "jobs: that failed": [f"{JOBS}?status=failed"],
        "jobs: that run": [f"{JOBS}?status=running"],
        "jobs: of a file": [f"{JOBS}?file={file}" for file in ids.files],
        "jobs: by metadata": [f"{JOBS}?metadata[run]={number}" for number in range(1, 8001, 8)],
        "jobs: by metadata that many have": [f"{JOBS}?metadata[team]=sql"],
        "jobs: search, found often": [f"{JOBS}?search=billing"],
        "jobs: search for one job": [f"{JOBS}?search={job[-12:]}" for job in ids.ended],
        "jobs: search, found never": [f"{JOBS}?search=zebra"],
        "job: ended": [f"{JOBS}/{job}" for job in ids.ended],
        "job: running": [f"{JOBS}/{job}" for job in ids.running],
        "job: queued, with its place": [f"{JOBS}/{job}" for job in ids.queued],
        "events: first page": [f"{JOBS}/{job}/events" for job in ids.ended],
        "events: of a type": [f"{JOBS}/{job}/events?type=samples" for job in ids.ended],
        "events: after a cursor": [f"{JOBS}/{job}/events?after={event}" for job, event in ids.events],
        "events of a long job: first page": [f"{JOBS}/{job}/events" for job in ids.long],
        "events of a long job: of a type": [f"{JOBS}/{job}/events?type=samples" for job in ids.long],
        "events of a long job: 100 in the middle": [
            f"{JOBS}/{job}/events?limit=100&after={event}" for job, event in ids.deep_events
        ],
        "checkpoints": [f"{JOBS}/{job}/checkpoints" for job in ids.ended],
        "metrics: none yet": [f"{JOBS}/{job}/metrics" for job in ids.running],
        "metrics of a long job: 1,000 steps": [f"{JOBS}/{job}/metrics?limit=1000" for job in ids.long],
        "metrics of a long job: the last steps": [
            f"{JOBS}/{job}/metrics?after_step=99000&limit=1000" for job in ids.long
        ],
        "metrics of a long job: thinned to 1,000": [f"{JOBS}/{job}/metrics?points=1000" for job in ids.long],
        "sweeps: first page": ["/v1/fine_tuning/sweeps"],
        "sweep": [f"/v1/fine_tuning/sweeps/{job.replace('ftjob', 'ftsweep')}" for job in ids.sweeps],
        "sweep: its candidates": [f"{JOBS}/{job}/candidates" for job in ids.sweeps],
        "sweep: its curves": [f"{JOBS}/{job}/candidates/curves" for job in ids.sweeps],
        "sweep: the curves of a long one": [f"{JOBS}/{job}/candidates/curves" for job in ids.long_sweeps],
        "sweep: a candidate's metrics, thinned to 1,000": [
            f"{JOBS}/{job}/metrics?candidate=1&points=1000" for job in ids.long_sweeps
        ],
        "secrets: first page": ["/v1/secrets"],
        "secrets: a page inside": [f"/v1/secrets?after=SECRET_{number}" for number in range(1, 900_000, 999)],
        "models": ["/v1/models"],
        "model": [f"/v1/models/{quote(name)}" for name in ids.models],
        "adapters: first page": ["/v1/adapters"],
        "adapters: a page inside": [f"/v1/adapters?after={adapter}" for adapter in ids.adapters],
        "adapter": [f"/v1/adapters/{adapter}" for adapter in ids.adapters],
        "files: first page": ["/v1/files?limit=100"],
        "files: a page inside": [f"/v1/files?limit=100&after={file}" for file in ids.files],
        "files: of a purpose": ["/v1/files?purpose=fine-tune&limit=100"],
        "file": [f"/v1/files/{file}" for file in ids.files],
        "workers": ["/v1/workers"],
        "audit log: first page": ["/v1/organization/audit_logs"],
        "audit log: a page inside": [f"/v1/organization/audit_logs?after={entry}" for entry in ids.audit],
        "usage of a project: 30 days": [USAGE],
        "usage of a project: a year": [USAGE + year],
        "webhook deliveries": ["/v1/webhook_endpoints/whe_" + "0" * 32 + "/deliveries"],
        "project's keys": [f"/v1/organization/projects/{LARGE}/api_keys"],
    }
    operator: dict[str, Any] = {
        "operator: projects": ["/v1/organization/projects?limit=100"],
        "operator: audit log": ["/v1/organization/audit_logs"],
        "operator: usage, 30 days": [USAGE],
        "operator: usage, a year": [USAGE + year],
        "operator: workers": ["/v1/workers"],
    }
    asks = {name: Ask(paths) for name, paths in member.items()}
    return asks | {name: Ask(paths, of_operator=True) for name, paths in operator.items()}
