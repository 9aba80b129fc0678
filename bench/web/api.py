"""Measure how fast the API answers: polls, creations, lists, uploads, and a project beside a busy one.

    python -m bench.web.api                     # writes bench/results/api-<date>.json and .md
    python -m bench.web.api --seconds 5 --only polls,creations

The command starts Postgres, Valkey, an S3 server and two API processes (`tunery api`), each on a port of its
own. A load generator in one process spreads its connections evenly over both API processes. The servers and
the load generator share one machine. The table of jobs has 100,000 rows.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bench import BENCH
from bench.command_line import new_parser
from bench.pages.tables import markdown
from bench.peers.measuring import versions_of
from bench.training.machine import cpu_info
from bench.training.running import say
from bench.web import http_load
from bench.web.api_service import CLIENTS, PROCESSES, Service, service
from bench.web.http_load import Load
from core.catalog import SMOLLM2

UPLOADS, UPLOAD_BYTES = 50, 20 * 1024**2
FLOOD_CLIENTS = 32
QUIET_PAUSE = 0.02  # seconds that each of the quiet project's clients waits between two polls
JOBS_PATH = "/v1/fine_tuning/jobs"

# The measurements. Rates are answers per second, times are milliseconds.


def polls(service: Service, seconds: float) -> dict[str, float]:
    return summary(
        service, [http_load.get(f"{JOBS_PATH}/{job}", service.key) for job in service.jobs], seconds
    )


def tagged_polls(service: Service, seconds: float) -> dict[str, float]:
    """Poll with the job's current ETag in each request."""
    service.get(f"{JOBS_PATH}/{service.jobs[-1]}")  # so that the API knows the places in the queue
    time.sleep(1)
    requests = []
    for job in service.jobs:
        headers, _ = service.get(f"{JOBS_PATH}/{job}")
        requests.append(http_load.get(f"{JOBS_PATH}/{job}", service.key, if_none_match=headers["etag"]))
    return summary(service, requests, seconds)


def creations(service: Service, seconds: float) -> dict[str, float]:
    """Create jobs. Each is committed before the answer, with Postgres' fsync on."""
    bodies = ({"model": SMOLLM2.id, "training_file": "file-bench", "seed": seed} for seed in range(10_000))
    requests = [http_load.post(JOBS_PATH, service.key, json.dumps(body).encode()) for body in bodies]
    return summary(service, requests, seconds)


def summary(service: Service, requests: list[bytes], seconds: float) -> dict[str, float]:
    service.load(requests, 1.0)  # warm-up: opens connections and prepares statements
    before = service.cpu_seconds()
    load = service.load(requests, seconds)
    return {
        "per_second": load.rate,
        "p50_ms": 1e3 * load.percentile(0.5),
        "p99_ms": 1e3 * load.percentile(0.99),
        "unchanged_share": load.statuses[304] / len(load.latencies),
        "api_cpu_ms": 1e3 * (service.cpu_seconds() - before) / len(load.latencies),
    }


def first_page(service: Service, seconds: float) -> dict[str, float]:
    """Read the first page of twenty jobs, one request after the other."""
    load = service.load([http_load.get(JOBS_PATH, service.key)], seconds, clients=1)
    return {"p50_ms": 1e3 * load.percentile(0.5), "p99_ms": 1e3 * load.percentile(0.99)}


def uploads(service: Service, _seconds: float) -> dict[str, float]:
    """Send UPLOADS files at once, and measure the time and the growth of the API's memory."""
    rest, most = service.memory(), 0
    command = [sys.executable, "-m", "bench.web.uploads", str(UPLOADS), str(UPLOAD_BYTES)]
    command += [service.key, *map(str, service.ports)]
    began = time.perf_counter()
    child = subprocess.Popen(command)
    while child.poll() is None:
        most = max(most, service.memory())
        time.sleep(0.02)
    if child.returncode:
        sys.exit("An upload failed")
    return {"seconds": time.perf_counter() - began, "growth_mb": (most - rest) / 1e6}


def beside_a_flood(service: Service, seconds: float) -> dict[str, float]:
    """Poll now and then with two clients of a project: alone, then beside FLOOD_CLIENTS of another."""
    quiet = [http_load.get(JOBS_PATH, service.other_key)]
    flood = cycle([http_load.get(f"{JOBS_PATH}/{job}", service.key) for job in service.jobs])

    async def both(with_flood: bool) -> tuple[Load, Load | None]:
        watched = http_load.run(
            service.ports, lambda: quiet[0], clients=2, seconds=seconds, pause=QUIET_PAUSE
        )
        if not with_flood:
            return await watched, None
        flooding = http_load.run(
            service.ports, lambda: next(flood), clients=FLOOD_CLIENTS, seconds=seconds + 1
        )
        flooded = asyncio.create_task(flooding)
        await asyncio.sleep(0.5)
        return await watched, await flooded

    alone, _ = uvloop.run(both(with_flood=False))
    beside, flooded = uvloop.run(both(with_flood=True))
    assert flooded is not None
    return {
        "quiet_p50_ms": 1e3 * alone.percentile(0.5),
        "quiet_p99_ms": 1e3 * alone.percentile(0.99),
        "flooded_p50_ms": 1e3 * beside.percentile(0.5),
        "flooded_p99_ms": 1e3 * beside.percentile(0.99),
        "times": beside.percentile(0.99) / alone.percentile(0.99),
        "flood_per_second": flooded.rate,
    }


MEASUREMENTS: dict[str, Callable[[Service, float], dict[str, float]]] = {
    "polls": polls,
    "tagged_polls": tagged_polls,
    "creations": creations,
    "first_page": first_page,
    "uploads": uploads,
    "beside_a_flood": beside_a_flood,
}

# (measurement, figure, its name on the page, format, aim, whether more is better)
ROWS = (
    ("polls", "per_second", "status polls, per second", ".0f", 600, True),
    ("polls", "p99_ms", "their p99, ms", ".1f", 50, False),
    ("tagged_polls", "per_second", "polls answered 304, per second", ".0f", 1500, True),
    ("tagged_polls", "p99_ms", "their p99, ms", ".1f", None, False),
    ("creations", "per_second", "durable job creations, per second", ".0f", 150, True),
    ("creations", "p99_ms", "their p99, ms", ".1f", None, False),
    ("first_page", "p99_ms", "first page of 100,000 jobs, p99, ms", ".1f", 100, False),
    (
        "uploads",
        "growth_mb",
        "50 uploads of 20 MiB at once: growth of the API's memory, MB",
        ".0f",
        150,
        False,
    ),
    ("uploads", "seconds", "their time, s", ".1f", None, False),
    ("beside_a_flood", "quiet_p99_ms", "polls of a project alone: p99, ms", ".1f", None, False),
    ("beside_a_flood", "times", "the same p99 beside a busy project, times as long", ".2f", 2, False),
)


def page(document: dict[str, Any]) -> str:
    return (
        f"# The API, {document['date'][:10]}\n\n<!-- Written by bench/web/api.py. -->\n\n{section(document)}"
    )


def section(document: dict[str, Any]) -> str:
    """Return where the figures were measured, and their table."""
    figures, rows = document["figures"], []
    for name, figure, words, form, aim, more in ROWS:
        if name in figures:
            sign = "≥" if more else "≤"
            rows.append((words, format(figures[name][figure], form), f"{sign} {aim:,}" if aim else "–"))
    versions = ", ".join(f"{name} {number}" for name, number in document["versions"].items())
    return (
        f"{PROCESSES} API processes on ports of their own, {CLIENTS} connections of one load generator, "
        f"Postgres and the object store share {document['cores']} cores of {document['cpu']}. Other programs "
        f"used the cores too: the load average of the minute before was {document['load']:.1f}. {versions}. "
        f"Commit {document['commit']}.\n\n" + markdown(("", "measured", "aim"), rows)
    )


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each measurement (default 10)")
    parser.add_argument(
        "--only", default=",".join(MEASUREMENTS), help=f"some of {', '.join(MEASUREMENTS)}, with commas"
    )
    parser.add_argument("--results", type=Path, default=BENCH / "results", help="folder to write to")
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with service() as running:
        figures = {}
        for name in given.only.split(","):
            figures[name] = MEASUREMENTS[name](running, given.seconds)
            say(f"{name}: {json.dumps({key: round(value, 3) for key, value in figures[name].items()})}")
    now = datetime.now(UTC)
    document = {
        "date": now.isoformat(timespec="seconds"),
        "commit": subprocess.run(
            ["git", "-C", str(BENCH), "rev-parse", "--short", "HEAD"], capture_output=True, text=True
        ).stdout.strip(),
        "cpu": cpu_info().get("model name", "an unnamed processor"),
        "cores": len(psutil.Process().cpu_affinity()),
        "load": load,
        "processes": PROCESSES,
        "seconds": given.seconds,
        "versions": versions_of("fastapi", "uvicorn", "sqlalchemy", "psycopg"),
        "figures": figures,
    }
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / f"api-{now:%Y-%m-%d}.json").write_text(json.dumps(document, indent=1) + "\n")
    (given.results / f"api-{now:%Y-%m-%d}.md").write_text(page(document))


if __name__ == "__main__":
    main()
