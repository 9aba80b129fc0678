"""Measure what the first visit of a page of the dashboard costs: requests, bytes, content that moves.

    python -m bench.web.first_visit --url http://127.0.0.1:8000 --key tnr_… --job ftjob-… \\
        --adapter adapter-… [--sources]

It asks a running service with Chromium, on a desk and on a phone, and prints a table. Nothing is stored in
the browser before each page. The layout shift is that of the Web Vitals: shifts within half a second after
an input do not count, and 0.1 is what a reader notices. `--sources` also says which elements have moved.
"""

from __future__ import annotations

import json
import time
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from bench.command_line import new_parser
from bench.pages.tables import markdown
from bench.training.running import say
from tests.fixtures.clients.chromium import chromium
from tests.fixtures.service.site import DESK, OURS, PHONE

QUIET_SECONDS = 3.0  # without a new request, after which the page counts as loaded
MOST_SECONDS = 60.0
SHIFTS = """
globalThis.shift = 0;
globalThis.moved = [];
new PerformanceObserver((list) => {
  for (const {value, hadRecentInput, sources} of list.getEntries()) {
    if (hadRecentInput) continue;
    globalThis.shift += value;
    for (const {node, previousRect, currentRect} of sources)
      globalThis.moved.push(`${value.toFixed(4)} ${node?.nodeName}.${node?.className} ` +
        `${previousRect.y},${previousRect.height} -> ${currentRect.y},${currentRect.height}: ` +
        node?.textContent?.slice(0, 40));
  }
}).observe({type: "layout-shift", buffered: true});
"""


class Traffic:
    """The requests of a page, as the browser's own tools count them: bytes on the wire, with headers."""

    def __init__(self, page: Page) -> None:
        self.paths: dict[str, str] = {}
        self.sizes: dict[str, float] = {}
        devtools = page.context.new_cdp_session(page)
        devtools.send("Network.enable")
        devtools.on("Network.requestWillBeSent", self._begun)
        devtools.on("Network.loadingFinished", self._done)

    def _begun(self, sent: dict[str, Any]) -> None:
        self.paths[sent["requestId"]] = sent["request"]["url"]

    def _done(self, done: dict[str, Any]) -> None:
        self.sizes[done["requestId"]] = done["encodedDataLength"]

    def kilobytes(self, ending: str = "") -> float:
        return sum(size for id, size in self.sizes.items() if self.paths[id].endswith(ending)) / 1000

    def largest(self) -> dict[str, int]:
        found = sorted(self.sizes.items(), key=lambda one: -one[1])[:4]
        return {self.paths[id].partition("//")[2].partition("/")[2]: int(size) for id, size in found}

    def wait_until_quiet(self, page: Page) -> None:
        deadline, seen, since = time.monotonic() + MOST_SECONDS, 0, time.monotonic()
        while time.monotonic() < min(deadline, since + QUIET_SECONDS):
            page.wait_for_timeout(200)
            if len(self.paths) + len(self.sizes) != seen:
                seen, since = len(self.paths) + len(self.sizes), time.monotonic()


def visit(browser: Browser, url: str, key: str, path: str, viewport: Any) -> dict[str, Any]:
    """Open the page in a browser that has stored only its session, and return what that cost."""
    with browser.new_context(base_url=url, viewport=viewport) as context:
        assert context.request.post("/v1/sign_in", data={"api_key": key}, headers=OURS).ok
        assert context.request.get("/openapi.json").ok  # which the service makes at the first request
        page = context.new_page()
        page.add_init_script(SHIFTS)
        traffic = Traffic(page)
        page.goto(path)
        traffic.wait_until_quiet(page)
        return {
            "requests": len(traffic.paths),
            "kilobytes": traffic.kilobytes(),
            "scripts": traffic.kilobytes(".js"),
            "largest": traffic.largest(),
            "shift": page.evaluate("globalThis.shift"),
            "moved": page.evaluate("globalThis.moved"),
        }


def pages(job: str, adapter: str) -> dict[str, str]:
    return {
        "Jobs": "/jobs",
        "Job": f"/jobs/{job}",
        "New job": "/new",
        "New job, cloned": f"/new?from={job}",
        "Compare": f"/compare?jobs={job}",
        "Playground": "/playground",
        "Files": "/files",
        "Adapters": "/adapters",
        "Adapter": f"/adapters/{adapter}",
        "Evals": "/evals",
        "Workers": "/workers",
        "Docs": "/guide",
        "Settings": "/settings",
    }


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--key", required=True, help="of an administrator, for the page of settings")
    parser.add_argument("--job", required=True, help="id of a job that has ended")
    parser.add_argument("--adapter", required=True, help="id of an adapter that was evaluated")
    parser.add_argument("--only", help="names of pages, with commas between them")
    parser.add_argument("--sources", action="store_true", help="say which elements have moved")
    given = parser.parse_args()
    paths = pages(given.job, given.adapter)
    only = given.only.split(",") if given.only else paths
    rows = []
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=chromium()) as browser:
        for name in only:
            path = paths[name]
            desk, phone = (visit(browser, given.url, given.key, path, device) for device in (DESK, PHONE))
            say(f"{name}: {json.dumps(desk['largest'])}")
            if given.sources:
                say("\n".join(desk["moved"] + ["on a phone:"] + phone["moved"]))
            sizes = (f"{desk['kilobytes']:.0f} KB", f"{desk['scripts']:.0f} KB")
            shifts = (f"{desk['shift']:.3f}", f"{phone['shift']:.3f}")
            rows.append((name, str(desk["requests"]), *sizes, *shifts))
    heads = ("first visit", "requests", "received", "of it scripts", "layout shift", "on a phone")
    print(markdown(heads, rows))


if __name__ == "__main__":
    main()
