"""Measure what open streams of events cost one API process while nothing happens.

    python -m bench.web.streams               # ten thousand streams; writes bench/results/streams-<date>.json
    python -m bench.web.streams --streams 500

Each stream follows a job of its own, which waits in the queue. The command measures the memory of the API,
its connections to the database, and polls of others, before the streams are opened and beside them. At the
end it tells the API to stop.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path
from typing import Any

import uvloop
from sqlalchemy import text

from api.descriptors import connection_limit
from bench import BENCH
from bench.command_line import new_parser
from bench.pages.tables import markdown
from bench.training.running import say
from bench.web import http_load
from bench.web.api import JOBS_PATH
from bench.web.api_service import RUNNING, Service, service

# (part of the document, figure, its name on the page, format)
ROWS = (
    (None, "kilobytes_each", "memory of a stream, kB", ".0f"),
    (None, "cores_while_silent", "cores that the API needs while all are silent", ".2f"),
    ("before", "connections", "connections of all clients of the database before", "d"),
    ("beside", "connections", "the same beside the streams", "d"),
    ("before", "p50_ms", "polls before: p50, ms", ".1f"),
    ("before", "p99_ms", "their p99, ms", ".1f"),
    ("beside", "p50_ms", "polls beside the streams: p50, ms", ".1f"),
    ("beside", "p99_ms", "their p99, ms", ".1f"),
    (None, "ended_seconds", "from SIGTERM until all streams have ended, s", ".1f"),
    (None, "stopped_seconds", "and until the API has ended, s", ".1f"),
)

AT_ONCE = 50  # streams that are being opened at the same time
POLLERS, PAUSE = 4, 0.02
STOP_SECONDS = 30.0
CONNECTIONS = text("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")


class Streams:
    """Open streams. `ended` is set when the server has ended all of them."""

    def __init__(self) -> None:
        self.open: list[asyncio.StreamWriter] = []
        self._reading: list[asyncio.Task[None]] = []

    async def add(self, running: Service, jobs: list[str]) -> None:
        room = asyncio.Semaphore(AT_ONCE)

        async def add_one(job: str) -> None:
            async with room:
                reader, writer = await asyncio.open_connection("127.0.0.1", running.ports[0], limit=4096)
                path = f"{JOBS_PATH}/{job}/events"
                writer.write(
                    http_load.get(path, running.key, accept="text/event-stream", accept_encoding="gzip")
                )
                status = await reader.readline()
                if b" 200 " not in status:
                    sys.exit(f"The API refused stream {len(self.open)}: {status!r}")
                self.open.append(writer)
                self._reading.append(asyncio.create_task(read_to_the_end(reader)))

        await asyncio.gather(*map(add_one, jobs))

    async def ended(self) -> None:
        async with asyncio.timeout(STOP_SECONDS):
            await asyncio.gather(*self._reading)


async def read_to_the_end(reader: asyncio.StreamReader) -> None:
    while await reader.read(4096):
        pass


async def measure(running: Service, count: int, seconds: float) -> dict[str, Any]:
    (process,) = running.processes
    waiting = running.jobs[RUNNING:]
    polls = cycle([http_load.get(f"{JOBS_PATH}/{job}", running.other_key) for job in running.jobs])
    own = cycle([http_load.get(f"{JOBS_PATH}/{job}", running.key) for job in running.jobs])

    async def polled(requests: Any) -> dict[str, float]:
        load = await http_load.run(
            running.ports, lambda: next(requests), clients=POLLERS, seconds=seconds, pause=PAUSE
        )
        return {"p50_ms": 1e3 * load.percentile(0.5), "p99_ms": 1e3 * load.percentile(0.99)}

    def state() -> dict[str, float]:
        with running.sessions() as session:
            connections = session.scalar(CONNECTIONS) or 0
        return {"memory_mb": process.memory_info().rss / 1e6, "connections": connections}

    await polled(own)  # warm-up
    before = {**await polled(own), **state()}
    say(f"before: {json.dumps(before)}")
    streams, began = Streams(), time.perf_counter()
    await streams.add(running, waiting[:count])
    opened = time.perf_counter() - began
    await asyncio.sleep(20)  # so that each stream has been kept alive and its key has been looked up
    used = process.cpu_times()
    await asyncio.sleep(10)
    idle = process.cpu_times()
    beside = {**await polled(own), **state()}
    say(f"beside {count} streams: {json.dumps(beside)}")
    foreign = await polled(polls)
    began = time.perf_counter()
    process.terminate()
    await streams.ended()
    all_ended = time.perf_counter() - began
    await asyncio.to_thread(process.wait, STOP_SECONDS)
    return {
        "streams": count,
        "opened_seconds": opened,
        "kilobytes_each": 1e3 * (beside["memory_mb"] - before["memory_mb"]) / count,
        "cores_while_silent": (idle.user + idle.system - used.user - used.system) / 10,
        "before": before,
        "beside": beside,
        "foreign": foreign,
        "ended_seconds": all_ended,
        "stopped_seconds": time.perf_counter() - began,
    }


def section(document: dict[str, Any]) -> str:
    """Return the table of the figures."""
    rows = [
        (words, format((document[part] if part else document)[name], form))
        for part, name, words, form in ROWS
    ]
    return (
        f"{document['streams']:,} streams of events that stay silent, on one API process, "
        f"{document['date'][:10]}. Each follows a job of its own.\n\n" + markdown(("", "measured"), rows)
    )


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--streams", type=int, default=10_000, help="number of streams (default 10,000)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of each measurement (default 5)")
    parser.add_argument("--results", type=Path, default=BENCH / "results", help="folder to write to")
    given = parser.parse_args()
    if connection_limit() < given.streams:
        sys.exit(
            f"This process may have {connection_limit()} connections only: raise the limit of open files"
        )
    most = str(given.streams)
    with service(
        given.streams + 2 * RUNNING, waiting=given.streams, processes=1, project_event_streams=most
    ) as api:
        figures = uvloop.run(measure(api, given.streams, given.seconds))
    now = datetime.now(UTC)
    figures["date"] = now.isoformat(timespec="seconds")
    say(json.dumps(figures, indent=1))
    given.results.mkdir(parents=True, exist_ok=True)
    (given.results / f"streams-{now:%Y-%m-%d}.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
