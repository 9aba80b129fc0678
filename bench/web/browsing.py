"""Measures pages of the dashboard in Chromium: when each is ready, and the cost of a page that stays open."""

from __future__ import annotations

import gzip
import json
import socket
import socketserver
import statistics
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from playwright.sync_api import Browser, BrowserContext, CDPSession, Page

from bench.training.running import say
from bench.web.api_service import Service

TIMES = 3  # loads of each page, in a browser that has nothing stored; the median counts
SAMPLES = 5  # of the heap, while a page stays open
READY_MS = 30_000
SETTLE_MS = 5000  # time for the work that follows the loading of a page
TRACED, TRACED_SECONDS = ["devtools.timeline"], 20.0

# Records the time when the element first holds the words, and every long task.
WATCH = """
globalThis.tasks = [];
new PerformanceObserver((list) => globalThis.tasks.push(...list.getEntries().map(
  ({startTime, duration}) => ({startTime, duration})))).observe({type: "longtask", buffered: true});
const isThere = () => document.querySelector(%(element)s)?.textContent.includes(%(words)s);
const look = () => { if (isThere()) globalThis.readyAt ??= performance.now(); };
new MutationObserver(look).observe(document, {childList: true, subtree: true, characterData: true});
"""


class Wanted(NamedTuple):
    """A page to measure. It is ready when `element` holds `words`."""

    path: str
    element: str
    words: str


class Wire(socketserver.ThreadingTCPServer):
    """A proxy between browser and API that counts the bytes to the browser.

    The browser itself cannot tell the bytes of a stream that is still open.
    """

    daemon_threads = True

    def __init__(self, api_port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.api_port, self.bytes = api_port, 0
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Connection(socketserver.BaseRequestHandler):
    server: Wire

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.api_port)) as api, suppress(OSError):
            threading.Thread(target=self._send, args=(api,), daemon=True).start()
            while part := api.recv(1 << 16):
                self.server.bytes += len(part)
                self.request.sendall(part)

    def _send(self, api: socket.socket) -> None:
        with suppress(OSError):
            while part := self.request.recv(1 << 16):
                api.sendall(part)
            api.shutdown(socket.SHUT_WR)


@contextmanager
def opened(browser: Browser, key: str, port: int, wanted: Wanted) -> Iterator[Page]:
    """Open the page in a browser that has stored only its session, and wait until the page is ready."""
    with browser.new_context(base_url=f"http://127.0.0.1:{port}") as context:
        _sign_in(context, key)
        page = context.new_page()
        page.add_init_script(
            WATCH % {"element": json.dumps(wanted.element), "words": json.dumps(wanted.words)}
        )
        page.goto(wanted.path)
        _wait_until_ready(page, wanted.path)
        yield page


def ready_times(browser: Browser, running: Service, pages: Mapping[str, Wanted]) -> dict[str, float]:
    """Return the milliseconds from the navigation until each page is ready."""
    times = {}
    for name, wanted in pages.items():
        found = []
        for _ in range(TIMES):
            with opened(browser, running.key, running.ports[0], wanted) as page:
                found.append(page.evaluate("globalThis.readyAt"))
        times[name] = statistics.median(found)
        say(f"{name}: {times[name]:.0f} ms")
    return times


def followed(browser: Browser, running: Service, job: Wanted, seconds: float, trace: Path) -> dict[str, Any]:
    """Keep a job's page open for `seconds` while steps arrive, and return the measurements.

    `trace` gets a gzipped trace of TRACED_SECONDS, for Chromium's developer tools or Perfetto.
    """
    wire = Wire(running.ports[0])
    with opened(browser, running.key, wire.server_address[1], job) as page:
        cdp = page.context.new_cdp_session(page)
        page.get_by_text("Following").wait_for(timeout=READY_MS)
        following = page.evaluate("performance.now()")
        loading = _longest_task(page, 0)
        page.wait_for_timeout(SETTLE_MS)
        browser.start_tracing(page=page, categories=TRACED)
        page.wait_for_timeout(1000 * TRACED_SECONDS)
        trace.write_bytes(gzip.compress(browser.stop_tracing()))
        heaps, tasks = [_heap(cdp)], []
        sent, began = wire.bytes, time.perf_counter()
        for _ in range(SAMPLES):
            # Measure from here: the garbage collection that we asked for is no task of the page
            from_ms = page.evaluate("performance.now()")
            page.wait_for_timeout(1000 * seconds / SAMPLES)
            tasks.append(_longest_task(page, from_ms))
            heaps.append(_heap(cdp))
        taken = time.perf_counter() - began
        return {
            "following_ms": following,
            "longest_task_loading_ms": loading,
            "longest_task_live_ms": max(tasks),
            "bytes_per_second": (wire.bytes - sent) / taken,
            "heaps_mb": heaps,
            "seconds": taken,
        }


def _sign_in(context: BrowserContext, key: str) -> None:
    headers = {"x-tunery-dashboard": "1"}
    assert context.request.post("/v1/sign_in", data={"api_key": key}, headers=headers).ok


def _wait_until_ready(page: Page, path: str) -> None:
    """Wait until the page is ready. The content security policy forbids `wait_for_function`."""
    deadline = time.monotonic() + READY_MS / 1000
    while page.evaluate("globalThis.readyAt === undefined"):
        if time.monotonic() > deadline:
            sys.exit(f"{path} is not ready after {READY_MS / 1000:.0f} s: {page.inner_text('main')}")
        page.wait_for_timeout(50)


def _heap(cdp: CDPSession) -> float:
    """Return the MB in use after a garbage collection."""
    cdp.send("HeapProfiler.collectGarbage")
    return float(cdp.send("Runtime.getHeapUsage")["usedSize"]) / 1e6


def _longest_task(page: Page, from_ms: float) -> float:
    """Return the longest task in milliseconds, 0 if none took 50 ms. Browsers report no shorter tasks."""
    told = "Math.max(0, ...globalThis.tasks.filter(t => t.startTime >= %f).map(t => t.duration))"
    return float(page.evaluate(told % from_ms))
