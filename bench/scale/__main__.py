"""Measure requests, claims and heartbeats on a database with a million jobs and a hundred million events.

    python -m bench.scale                                   # fills a database, measures, removes it
    python -m bench.scale --jobs 10000 --events 1000000     # a hundredth of it: a minute
    python -m bench.scale --home DIR                        # keeps the database in DIR for next time

A full database takes 45 GB of disk, and 10 to 20 minutes to fill. One client asks an API process, one request
after the other. The exit code is 1 if a request takes longer than 100 ms at the median, or one claim in a
hundred longer than 20 ms. The results are bench/results/at-scale-<date>.json and a page beside it.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import Engine

from bench import BENCH
from bench.command_line import new_parser, positive
from bench.scale.document import environment
from bench.scale.fill import prepare
from bench.scale.numbered import Size
from bench.scale.page import is_over, page
from bench.scale.posts import MANY, posts
from bench.scale.progress import say_step
from bench.scale.requests import LARGE, Ask, requests
from bench.scale.writes import WRITES, milliseconds
from bench.training.running import free_port
from bench.web import http_load
from bench.web.api_service import environment_of, start_api, wait_until_ready
from cli.embedded import EmbeddedServers
from core.access.keys import create_key
from core.access.projects import find_or_create_project
from core.database import create_database, session_factory
from core.roles import Role
from core.tables import Project

FEWEST = 5  # answers


class Measured:
    """The API on the full database, and a key of the large project and of the operator."""

    def __init__(self, engine: Engine, port: int, seconds: float) -> None:
        self.engine, self._port, self._seconds = engine, port, seconds
        self.sessions = session_factory(engine)
        with self.sessions.begin() as session:
            large = session.get_one(Project, LARGE)
            operator = find_or_create_project(session, "default")
            self._key = create_key(session, large, "bench", Role.ADMIN).value
            self._operator_key = create_key(session, operator, "bench", Role.ADMIN).value

    def ask(self, ask: Ask) -> list[float]:
        key = self._operator_key if ask.of_operator else self._key
        return self._load([http_load.get(path, key) for path in ask.paths])

    def posts(self) -> dict[str, Iterator[bytes]]:
        with self.sessions() as session:
            return posts(session, self._key)

    def send(self, requests: Iterator[bytes]) -> list[float]:
        return self._load(list(requests))

    def _load(self, asked: list[bytes]) -> list[float]:
        """Return the milliseconds of each answer. The first second fills caches and does not count."""
        turns = cycle(asked)
        self._answers(turns, 1.0)
        seconds = self._seconds
        while len(found := self._answers(turns, seconds)) < FEWEST:
            seconds *= 2
        return found

    def _answers(self, turns: Iterator[bytes], seconds: float) -> list[float]:
        load = uvloop.run(http_load.run([self._port], lambda: next(turns), clients=1, seconds=seconds))
        if not load.statuses.keys() <= {200, 400}:  # a search that takes too long is refused
            sys.exit(f"The API answered {dict(load.statuses)} to {next(turns).decode().splitlines()[0]}")
        return [1e3 * latency for latency in load.latencies]


@contextmanager
def api_on(servers: EmbeddedServers, seconds: float) -> Iterator[Measured]:
    engine = create_database(servers.urls["database_url"])
    port = free_port()
    process = start_api(port, environment_of(servers, project_open_uploads=str(MANY)))
    try:
        wait_until_ready([port])
        yield Measured(engine, port, seconds)
    finally:
        process.terminate()
        process.wait(30)
        engine.dispose()


def measure(measured: Measured, wanted: str) -> dict[str, dict[str, float]]:
    figures = {}
    for name, ask in requests(measured.engine).items():
        if wanted in name and ask.paths:
            figures[name] = summary(name, measured.ask(ask))
    for name, asked in measured.posts().items():
        if wanted in name:
            figures[name] = summary(name, measured.send(asked))
    for name, calls in WRITES.items():
        if wanted in name:
            figures[name] = summary(name, milliseconds(calls(measured.sessions)))
    return figures


def summary(name: str, times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    figures = {
        "count": len(ordered),
        "median_ms": ordered[len(ordered) // 2],
        "p99_ms": ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))],
    }
    say_step(f"{name}: {figures['median_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms of {len(ordered)}")
    return figures


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument(
        "--jobs", type=positive, default=1_000_000, help="a multiple of 1,000 (default 1,000,000)"
    )
    parser.add_argument("--events", type=positive, default=100_000_000, help="(default 100,000,000)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement (default 3)")
    parser.add_argument(
        "--only", default="", help="measure only names with these words, and write no results"
    )
    parser.add_argument("--home", type=Path, help="folder of the servers, which is kept")
    parser.add_argument("--fill-only", action="store_true", help="measure nothing")
    parser.add_argument("--results", type=Path, default=BENCH / "results", help="folder to write to")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="tunery-scale-") as folder,
        EmbeddedServers(given.home or Path(folder)) as servers,
    ):
        prepare(servers, Size(given.jobs, given.events))
        if given.fill_only:
            return
        with api_on(servers, given.seconds) as measured:
            figures = measure(measured, given.only)
        found = environment(servers) | {"figures": figures}
    if not given.only:
        write(found, given.results)
    over = [name for name, figure in figures.items() if is_over(name, figure)]
    if over:
        sys.exit(f"Over the aim: {', '.join(over)}")


def write(found: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"at-scale-{found['date'][:10]}.json"
    path.write_text(json.dumps(found, indent=1) + "\n")
    path.with_suffix(".md").write_text(page(found))


if __name__ == "__main__":
    main()
