"""Measure how many workers one Postgres carries: claims, renewals, events, scans, looks for tasks, polls.

    python -m bench.scale.workers --home DIR                       # DIR is kept, and filled if it is empty
    python -m bench.scale.workers --jobs 10000 --events 1000000    # fills a small one, measures, removes it
    python -m bench.scale.workers --home DIR --workers 10 --seconds 20

Each worker is a few coroutines of one process. They call the service's own functions on the real servers of
`tunery up`. First each call is measured alone: its time, and the processor time of Postgres that it takes.
Then so many workers work side by side while clients poll the API. At last, as many as the largest number
claim at the same moment. The driver computes too,
so many workers do their duties less often than real ones: at most --calls of them a second, together. The
page says how often, and what the duties of a thousand workers take by the measured processor time.
The results are bench/results/workers-<date>.json, a page beside it, and figures in docs/operate/capacity.md.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench import BENCH, ROOT
from bench.command_line import new_parser, positive
from bench.pages import marked
from bench.scale.document import environment
from bench.scale.fill import prepare
from bench.scale.numbered import Size
from bench.scale.progress import say_step
from bench.scale.workers import jobs
from bench.scale.workers.coroutines import Coroutines
from bench.scale.workers.crowd import burst, crowd
from bench.scale.workers.duties import Duties
from bench.scale.workers.evidence import Evidence
from bench.scale.workers.figures import summary
from bench.scale.workers.monitored import page_for_prometheus
from bench.scale.workers.operations import Operations
from bench.scale.workers.page import capacity, page
from bench.scale.workers.polls import Polls, load_process, poll, polled_api
from bench.scale.workers.rates import Rates
from cli.embedded import EmbeddedServers
from core.database import create_database, session_factory
from core.settings import Settings
from core.storage.object_store import ObjectStore

RESULTS = BENCH / "results"
CAPACITY = ROOT / "docs/operate/capacity.md"
ALONE_WORKERS = 8
POLLS_ALONE = 4  # clients that poll without a pause
MANY_JOBS = 15  # waiting jobs of each project, before calls are measured alone
SPARE_JOBS = 15  # waiting jobs of each project, beyond those that are claimed


class Measurement:
    """What a measurement runs on, and what it has found."""

    def __init__(self, given: argparse.Namespace, servers: EmbeddedServers) -> None:
        self._given = given
        self._url = servers.urls["database_url"]
        self._settings = Settings(devices=jobs.DEVICES).with_servers(**servers.urls)
        os.environ.update(servers.environment)
        self._store = ObjectStore(servers.urls["s3_endpoint_url"], servers.urls["s3_bucket"])
        self._engine = create_database(self._url)
        self.sessions = session_factory(self._engine)
        self.projects = jobs.projects(self.sessions, given.projects)
        jobs.add_workers(self.sessions, max(given.workers))
        self.evidence = Evidence(servers)
        self.rates = Rates.of(self._settings, given.job_seconds)
        self.found: dict[str, Any] = {
            "rates": asdict(self.rates),
            "per_worker": self.rates.by_duty,
            "connections": given.connections,
            "prepared": given.prepared,
            "load_before": os.getloadavg()[0],
        }

    def close(self) -> None:
        self.evidence.close()
        self._engine.dispose()

    async def alone(self, seconds: float, *, prepared: bool) -> None:
        """Measure each duty by itself."""
        say_step("each call alone, " + ("with prepared statements" if prepared else "as behind a pooler"))
        jobs.submit(self.sessions, self.projects, MANY_JOBS)
        calls = Coroutines(self._url, ALONE_WORKERS, prepared=prepared)
        workers = [self._duties(calls) for _ in range(ALONE_WORKERS)]
        operations = Operations(workers, calls, self.evidence, seconds)
        await operations.measure()
        await calls.close()
        self.found["alone_prepared" if prepared else "alone"] = operations.found

    async def together(self, workers: int, polls: Polls, pool: ProcessPoolExecutor) -> None:
        """Measure so many workers side by side."""
        given = self._given
        needed = SPARE_JOBS + workers // len(self.projects)
        jobs.submit(self.sessions, self.projects, needed)
        calls = Coroutines(self._url, given.connections, prepared=given.prepared)
        duties = [self._duties(calls) for _ in range(workers)]
        stretch = max(1.0, workers * sum(self.rates.by_duty.values()) / given.calls)
        rates = self.rates.stretched(stretch)
        found = await crowd(duties, calls, rates, self.evidence, polls, pool, self.projects, given.seconds)
        await calls.close()
        self.found.setdefault("together", []).append(found | {"stretch": stretch})
        claim = found["duties"].get("claim", {})
        p99 = claim.get("p99_ms", 0)
        say_step(f"{workers} workers: p99 of a claim {p99:.1f} ms, {found['postgres_cores']:.2f} cores")

    async def burst(self, workers: int) -> None:
        """Measure how long so many workers take that claim at the same moment."""
        jobs.submit(self.sessions, self.projects, SPARE_JOBS + workers // len(self.projects))
        calls = Coroutines(self._url, self._given.connections, prepared=self._given.prepared)
        self.found["burst"] = await burst([self._duties(calls) for _ in range(workers)], calls)
        await calls.close()

    def polls_alone(self, polls: Polls, seconds: float) -> None:
        """Measure what polls cost, without workers."""
        self.found["polls"] = {}
        for name, requests in polls.requests.items():
            poll(polls.port, requests, 1.0, clients=POLLS_ALONE, pause=0.0)
            before, api = self.evidence.now(), polls.seconds_of_the_api()
            load = poll(polls.port, requests, seconds, clients=POLLS_ALONE, pause=0.0)
            count = max(1, len(load.latencies))  # a busy machine may answer none
            self.found["polls"][name] = {
                "per_second": load.rate,
                "p99_ms": summary(load.latencies).get("p99_ms", 0.0),
                "postgres_ms": 1e3 * self.evidence.since(before).postgres / count,
                "api_ms": 1e3 * (polls.seconds_of_the_api() - api) / count,
                "statuses": dict(load.statuses),
            }
            say_step(f"{name}: {load.rate:.0f} a second")

    def finish(self) -> None:
        self.found["for_prometheus"] = page_for_prometheus(self.sessions)
        self.found["bytes"] = self.evidence.bytes_of_rows()

    def _duties(self, calls: Coroutines) -> Duties:
        return Duties(self._settings, calls.sessions, self._store)


def measure(given: argparse.Namespace, servers: EmbeddedServers) -> dict[str, Any]:
    measurement = Measurement(given, servers)
    try:
        jobs.submit(measurement.sessions, measurement.projects, 1)
        with polled_api(servers, measurement.sessions, measurement.projects) as polls, load_process() as pool:
            for prepared in (False, True):
                asyncio.run(measurement.alone(given.alone, prepared=prepared))
            measurement.polls_alone(polls, given.alone)
            for workers in given.workers:
                asyncio.run(measurement.together(workers, polls, pool))
            asyncio.run(measurement.burst(max(given.workers)))
        measurement.finish()
        return environment(servers) | measurement.found
    finally:
        measurement.close()


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = new_parser(__doc__)
    parser.add_argument("--home", type=Path, help="folder of the servers, which is kept")
    parser.add_argument("--jobs", type=positive, default=1_000_000, help="to fill, if the home is empty")
    parser.add_argument("--events", type=positive, default=20_000_000, help="to fill, if the home is empty")
    parser.add_argument("--workers", type=numbers, default=[10, 100, 1000], help="default 10,100,1000")
    parser.add_argument("--projects", type=positive, default=100, help="that have waiting jobs (default 100)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each number of workers (default 30)")
    parser.add_argument("--alone", type=float, default=3.0, help="seconds of each call alone (default 3)")
    parser.add_argument("--job-seconds", type=float, default=120.0, help="length of a job (default 120)")
    parser.add_argument("--calls", type=float, default=100.0, help="of all workers a second (default 100)")
    parser.add_argument(
        "--connections", type=positive, default=32, help="that all workers share, as behind a pooler"
    )
    parser.add_argument("--prepared", action="store_true", help="prepare statements, as without a pooler")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    return parser.parse_args(given)


def numbers(text: str) -> list[int]:
    """Parse numbers of workers with commas between them."""
    return [positive(each) for each in text.split(",")]


def main() -> None:
    given = arguments()
    with (
        tempfile.TemporaryDirectory(prefix="tunery-workers-") as folder,
        EmbeddedServers(given.home or Path(folder)) as servers,
    ):
        prepare(servers, Size(given.jobs, given.events))
        found = measure(given, servers)
    given.results.mkdir(parents=True, exist_ok=True)
    path = given.results / f"workers-{found['date'][:10]}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(found))
    if given.results == RESULTS:
        marked.put(CAPACITY, "bench/scale/workers/__main__.py", capacity(found))
    print(page(found))


if __name__ == "__main__":
    main()
