"""Measure how fast the dashboard is in Chromium: pages of a full service, and a long job that is followed.

    python -m bench.web.dashboard               # writes bench/results/dashboard.json and its part of the page
    python -m bench.web.dashboard --seconds 30

The table holds 10,000 jobs. One of them runs and has already done 100,000 steps. It gets STEPS_PER_FLUSH more
steps twice a second, in the way a worker writes them. Postgres, two API processes and the browser share one
machine.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from playwright.sync_api import sync_playwright
from sqlalchemy import select

from bench import BENCH, ROOT
from bench.command_line import new_parser
from bench.pages import marked
from bench.pages.tables import markdown, shown
from bench.training.machine import cpu_info
from bench.training.running import say
from bench.web.api_service import service
from bench.web.browsing import TIMES, TRACED_SECONDS, Wanted, followed, ready_times
from bench.web.long_job import FLUSH_SECONDS, STEPS_PER_FLUSH, Trainer, make_long
from core.tables import Run
from tests.fixtures.clients.chromium import chromium

SCRIPT = "bench/web/dashboard.py"
JOBS = 10_000
TRACE = "dashboard-trace.json.gz"
STEP_BYTES = 1024  # by which the heap of a page that keeps all steps may grow for each new step
LONG_JOB = "Job of 100,000 steps: curves of all"


def pages(jobs: list[str], long_job: str) -> dict[str, Wanted]:
    newest, ended = jobs[-1], [f"ftjob-{number:032}" for number in (11, 12)]
    return {
        "Jobs": Wanted("/jobs", "main", newest),
        "Jobs, a search over all": Wanted(f"/jobs?q={ended[0]}", "main", ended[0]),
        LONG_JOB: Wanted(f"/jobs/{long_job}", "main:has(canvas)", "Thinned"),
        "New job": Wanted("/new", "main", "Review"),
        "New job, cloned": Wanted(f"/new?from={ended[0]}", "main", "Review"),
        "Compare, two jobs without a step": Wanted(f"/compare?jobs={','.join(ended)}", "main", ended[0]),
        "Compare, the long job": Wanted(f"/compare?jobs={long_job}", "main:has(canvas)", "Thinned"),
        "Files": Wanted("/files", "main", "rows.jsonl"),
        "Adapters": Wanted("/adapters", "main", "No adapter yet"),
        "Workers": Wanted("/workers", "main", "Queue"),
        "Settings": Wanted("/settings", "main", "for administrators"),
    }


def part(document: dict[str, Any]) -> str:
    """Return the part of docs/dashboard.md with the measurements."""
    live, rows = document["live"], []
    for name, milliseconds in document["ready_ms"].items():
        rows.append((name, f"{milliseconds:.0f} ms", *aim(milliseconds, 1000, "< 1 s")))
    rows.append(("the long job's page: until it follows", f"{live['following_ms']:.0f} ms", "–", "–"))
    rows.append(("its longest task until it follows", task(live["longest_task_loading_ms"]), "–", "–"))
    longest = live["longest_task_live_ms"]
    rows.append(("its longest task while it follows", task(longest), *aim(longest, 50, "≤ 50 ms")))
    rate = live["bytes_per_second"]
    rows.append(("bytes per second while it follows", shown(rate, ",.0f"), *aim(rate, 2048, "≤ 2 KB")))
    heaps, seconds, rate = live["heaps_mb"], live["seconds"], STEPS_PER_FLUSH / FLUSH_SECONDS
    growth = 1e6 * (heaps[-1] - heaps[0]) / (rate * seconds)
    rows.append(
        (
            f"JS heap at the start and after {seconds / 60:.1f} minutes",
            f"{heaps[0]:.1f}, {heaps[-1]:.1f} MB: {shown(growth, ',.0f')} bytes for each new step",
            *aim(growth, STEP_BYTES, "≤ 1 KB: the step's values and its line"),
        )
    )
    head = (
        f"{document['date'][:10]}, Chromium {document['chromium']}, all on {document['cores']} cores of "
        f"{document['cpu']}; the load average of the minute before was {document['load']:.1f}. {JOBS:,} "
        f"jobs; the long job gets {rate:.0f} steps a second. Times count from the navigation, in a browser "
        f"that has stored nothing; each is the median of {TIMES}. [The trace](../bench/results/{TRACE}) "
        f"shows {TRACED_SECONDS:.0f} seconds in which the page follows the job.\n\n"
    )
    return head + markdown(("", "measured", "aim", "holds"), rows)


def task(milliseconds: float) -> str:
    return f"{milliseconds:.0f} ms" if milliseconds else "none over 50 ms"


def aim(value: float, most: float, words: str) -> tuple[str, str]:
    return words, "yes" if value <= most else "no"


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="time to follow the job (default 120)")
    parser.add_argument("--results", type=Path, default=BENCH / "results", help="folder to write to")
    parser.add_argument("--page", type=Path, default=ROOT / "docs/dashboard.md", help="page to write to")
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
        wanted = pages(running.jobs, long_job)
        ready = ready_times(browser, running, wanted)
        live = followed(browser, running, wanted[LONG_JOB], given.seconds, given.results / TRACE)
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
