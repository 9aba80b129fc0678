"""How fast the dashboard is, in Chromium: pages of a full service, and a long job that is followed.

    python bench/dashboard.py                  # writes bench/results/dashboard.json and its part of the page
    python bench/dashboard.py --seconds 30

The table holds 10,000 jobs; one that runs has 100,000 steps behind it, and gets STEPS_PER_FLUSH more twice a
second, as a worker writes them. Everything shares one machine: Postgres, two API processes, browser.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

BENCH = Path(__file__).resolve().parent
sys.path[:0] = [str(BENCH), str(BENCH / "peers"), str(BENCH.parent)]

import marked
import psutil
from machine import cpu_info
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, sync_playwright
from running import say
from sqlalchemy import select, text
from tables import markdown, shown

from api import Service, service
from core import lifecycle
from core.lifecycle import Lease, Progress
from core.models import Metric, Run
from tests.fixtures.chromium import chromium

SCRIPT = "bench/dashboard.py"
JOBS, STEPS, MORE = 10_000, 100_000, 900_000
STEPS_PER_FLUSH, FLUSH_SECONDS = 2, 0.5
TIMES = 3  # each page, in a browser that has nothing stored; the median counts
SAMPLES = 5  # of the heap, while the job is followed
LEASE_SECONDS = 86_400.0
READY_MS = 30_000

VALUES = """
    jsonb_build_object('step', n, 'total_steps', CAST(:total AS int), 'epoch', n / 1000.0,
        'train_loss', 0.5 + 2 * exp(-n / 20000.0) + 0.2 * random(), 'learning_rate', 1e-4, 'grad_norm',
        random(), 'tokens_per_second', 900 + 100 * random(), 'valid_loss', NULL, 'full_valid_loss', NULL)
"""
FILL = f"""
INSERT INTO metrics (job_id, step, data)
    SELECT :job, n, {VALUES} FROM generate_series(1, :steps) n;
INSERT INTO events (id, job_id, level, type, message, data)
    SELECT 'ftevent-' || m.job_id || m.step, m.job_id, 'info', 'metrics',
        'Step ' || m.step || ': training loss', m.data FROM metrics m WHERE m.job_id = :job ORDER BY m.step
"""  # noqa: S608

# Notes when the words first stand in the page or the element is there, and every long task.
WATCH = """
globalThis.tasks = [];
new PerformanceObserver((list) => globalThis.tasks.push(...list.getEntries().map(
  ({startTime, duration}) => ({startTime, duration})))).observe({type: "longtask", buffered: true});
const isThere = () => document.querySelector(%(element)s)?.textContent.includes(%(words)s);
const look = () => { if (isThere()) globalThis.readyAt ??= performance.now(); };
new MutationObserver(look).observe(document, {childList: true, subtree: true, characterData: true});
"""


def pages(jobs: list[str], long_job: str) -> dict[str, tuple[str, str, str]]:
    """Of each page its path, and the element and its words that show that it is ready."""
    newest, ended = jobs[-1], [f"ftjob-{number:032}" for number in (11, 12)]
    return {
        "Jobs": ("/jobs", "main", newest),
        "Jobs, a search over all": (f"/jobs?q={ended[0]}", "main", ended[0]),
        "Job of 100,000 steps: its first curve": (f"/jobs/{long_job}", "main:has(canvas)", ""),
        "New job": ("/new", "main", "Review"),
        "New job, cloned": (f"/new?from={ended[0]}", "main", "Review"),
        "Compare, two jobs without a step": (f"/compare?jobs={','.join(ended)}", "main", ended[0]),
        "Files": ("/files", "main", "rows.jsonl"),
        "Adapters": ("/adapters", "main", "No adapter yet"),
        "Workers": ("/workers", "main", "Queue"),
        "Settings": ("/settings", "main", "for administrators"),
    }


def make_long(running: Service, job: str) -> None:
    with running.sessions.begin() as session:
        session.execute(text("SET LOCAL statement_timeout = 0"))
        for statement in FILL.split(";"):
            session.execute(text(statement), {"job": job, "steps": STEPS, "total": MORE})


class Trainer(threading.Thread):
    """Writes steps as a worker's reporter does."""

    def __init__(self, running: Service, job: str) -> None:
        super().__init__(daemon=True)
        self._sessions, self.step, self.done = running.sessions, STEPS, threading.Event()
        with self._sessions() as session:
            fence = session.scalars(select(Run.fence).where(Run.job_id == job)).one()
        self._lease = Lease(job, fence, LEASE_SECONDS)

    def run(self) -> None:
        while not self.done.wait(FLUSH_SECONDS):
            with self._sessions.begin() as session:
                progress = Progress("training", self.step, MORE, self.step / 1000, 950.0, 100 * self.step)
                lifecycle.renew(session, self._lease, progress)
                for _ in range(STEPS_PER_FLUSH):
                    self._add_step(session)

    def _add_step(self, session: Any) -> None:
        self.step += 1
        loss = 0.5 + 0.1 * math.sin(self.step)
        values = {
            **{"step": self.step, "total_steps": MORE, "epoch": self.step / 1000, "train_loss": loss},
            **{"learning_rate": 1e-4, "grad_norm": 0.5, "tokens_per_second": 950.0},
            **{"valid_loss": None, "full_valid_loss": None},
        }
        session.add(Metric(job_id=self._lease.job_id, step=self.step, data=values))
        message = f"Step {self.step}/{MORE}: training loss={loss:.2f}"
        lifecycle.record_event(session, self._lease.job_id, message, type="metrics", data=values)


class Traffic:
    """Bytes of a page: of whole answers with their heads, of streams what has come."""

    def __init__(self, cdp: CDPSession) -> None:
        self._streams: dict[str, int] = {}
        self._whole = 0
        cdp.on("Network.dataReceived", self._take)
        cdp.on("Network.loadingFinished", self._end)
        cdp.send("Network.enable")

    def _take(self, event: dict[str, Any]) -> None:
        request, size = event["requestId"], max(event["encodedDataLength"], event["dataLength"])
        self._streams[request] = self._streams.get(request, 0) + size

    def _end(self, event: dict[str, Any]) -> None:
        self._streams.pop(event["requestId"], None)
        self._whole += int(event["encodedDataLength"])

    def total(self) -> int:
        return self._whole + sum(self._streams.values())


@contextmanager
def opened(browser: Browser, running: Service, path: str, element: str, words: str) -> Iterator[Page]:
    """The page, ready, in a browser that has nothing stored but its session."""
    with browser.new_context(base_url=f"http://127.0.0.1:{running.ports[0]}") as context:
        sign_in(context, running.key)
        page = context.new_page()
        page.add_init_script(WATCH % {"element": json.dumps(element), "words": json.dumps(words)})
        page.goto(path)
        wait_until_ready(page, path)
        yield page


def wait_until_ready(page: Page, path: str) -> None:
    """`wait_for_function` would need what the content security policy forbids."""
    deadline = time.monotonic() + READY_MS / 1000
    while page.evaluate("globalThis.readyAt === undefined"):
        if time.monotonic() > deadline:
            sys.exit(f"{path} is not ready after {READY_MS / 1000:.0f} s: {page.inner_text('main')}")
        page.wait_for_timeout(50)


def sign_in(context: BrowserContext, key: str) -> None:
    headers = {"x-tunery-dashboard": "1"}
    assert context.request.post("/v1/sign_in", data={"api_key": key}, headers=headers).ok


def ready_times(browser: Browser, running: Service, long_job: str) -> dict[str, float]:
    """Milliseconds from the navigation until each page is ready."""
    times = {}
    for name, wanted in pages(running.jobs, long_job).items():
        found = []
        for _ in range(TIMES):
            with opened(browser, running, *wanted) as page:
                found.append(page.evaluate("globalThis.readyAt"))
        times[name] = statistics.median(found)
        say(f"{name}: {times[name]:.0f} ms")
    return times


def followed(browser: Browser, running: Service, long_job: str, seconds: float) -> dict[str, Any]:
    """The long job's page, open for so long while steps come."""
    wanted = pages(running.jobs, long_job)["Job of 100,000 steps: its first curve"]
    with opened(browser, running, *wanted) as page:
        cdp = page.context.new_cdp_session(page)
        page.get_by_text("Following").wait_for(timeout=READY_MS)
        read = page.evaluate("performance.now()")
        loading = longest_task(page, 0)
        page.wait_for_timeout(5000)
        heaps, tasks = [heap(cdp)], []
        traffic, began = Traffic(cdp), time.perf_counter()
        for _ in range(SAMPLES):
            from_ms = page.evaluate(
                "performance.now()"
            )  # a collection that we ask for is no task of the page
            page.wait_for_timeout(1000 * seconds / SAMPLES)
            tasks.append(longest_task(page, from_ms))
            heaps.append(heap(cdp))
        taken = time.perf_counter() - began
        return {
            "all_read_ms": read,
            "longest_task_loading_ms": loading,
            "longest_task_live_ms": max(tasks),
            "bytes_per_second": traffic.total() / taken,
            "heaps_mb": heaps,
            "seconds": taken,
        }


def heap(cdp: CDPSession) -> float:
    """MB in use after a collection."""
    cdp.send("HeapProfiler.collectGarbage")
    return float(cdp.send("Runtime.getHeapUsage")["usedSize"]) / 1e6


def longest_task(page: Page, from_ms: float) -> float:
    """0 where none took 50 ms, below which browsers do not tell of them."""
    told = "Math.max(0, ...globalThis.tasks.filter(t => t.startTime >= %f).map(t => t.duration))"
    return float(page.evaluate(told % from_ms))


def part(document: dict[str, Any]) -> str:
    """What docs/dashboard.md says."""
    live, rows = document["live"], []
    for name, milliseconds in document["ready_ms"].items():
        rows.append((name, f"{milliseconds:.0f} ms", *aim(milliseconds, 1000, "< 1 s")))
    rows.append(("Job of 100,000 steps: all steps read, followed", f"{live['all_read_ms']:.0f} ms", "–", "–"))
    rows.append(("its longest task while it reads them", task(live["longest_task_loading_ms"]), "–", "–"))
    longest = live["longest_task_live_ms"]
    rows.append(("its longest task while it is followed", task(longest), *aim(longest, 50, "≤ 50 ms")))
    rate = live["bytes_per_second"]
    rows.append(("bytes a second while it is followed", shown(rate, ",.0f"), *aim(rate, 2048, "≤ 2 KB")))
    heaps = live["heaps_mb"]
    minutes, growth = live["seconds"] / 60, (heaps[-1] - heaps[0]) / heaps[0]
    rows.append(
        (
            f"JS heap at the start and after {minutes:.1f} minutes",
            f"{heaps[0]:.1f}, {heaps[-1]:.1f} MB",
            *aim(growth, 0.05, "steady: + 5 %"),
        )
    )
    rate = STEPS_PER_FLUSH / FLUSH_SECONDS
    head = (
        f"{document['date'][:10]}, Chromium {document['chromium']}, all on {document['cores']} cores of "
        f"{document['cpu']}; the load of the minute before was {document['load']:.1f}. {JOBS:,} jobs; the "
        f"long one gets {rate:.0f} steps a second. Times are from the navigation, with nothing stored, "
        f"the median of {TIMES}.\n\n"
    )
    return head + markdown(("", "measured", "aim", "holds"), rows)


def task(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds else "none over 50 ms"


def aim(value: float, most: float, words: str) -> tuple[str, str]:
    return words, "yes" if value <= most else "no"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="to follow the job for (default 120)")
    parser.add_argument("--results", type=Path, default=BENCH / "results", help="folder to write to")
    parser.add_argument(
        "--page", type=Path, default=BENCH.parent / "docs/dashboard.md", help="page to write to"
    )
    given = parser.parse_args()
    load = os.getloadavg()[0]
    with (
        service(JOBS) as running,
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=chromium()) as browser,
    ):
        with running.sessions() as session:
            long_job = session.scalars(select(Run.job_id).where(Run.ended_at.is_(None)).limit(1)).one()
        make_long(running, long_job)
        trainer = Trainer(running, long_job)
        trainer.start()
        ready = ready_times(browser, running, long_job)
        live = followed(browser, running, long_job, given.seconds)
        trainer.done.set()
        trainer.join()
        version = browser.version
    say(json.dumps(live))
    document = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_info().get("model name", "an unnamed processor"),
        "cores": len(psutil.Process().cpu_affinity()),
        "load": load,
        "chromium": version,
        "ready_ms": ready,
        "live": live,
    }
    (given.results / "dashboard.json").write_text(json.dumps(document, indent=1) + "\n")
    marked.put(given.page, SCRIPT, part(document))


if __name__ == "__main__":
    main()
