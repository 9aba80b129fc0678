"""What traces cost: `python -m bench.traces`.

It measures the boundary of a request, and what a round of training tells its traces: without a collector,
with one for which no trace is kept, and with one that takes all of them. The collector is a process of its
own, and the SDK's thread sends to it meanwhile.
"""

import asyncio
import multiprocessing
import os
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import structlog
from starlette.responses import PlainTextResponse

from api.http.boundary import Boundary
from api.monitoring.requests import RequestCounts
from core.monitoring.recorder import Recorder
from core.tracing import spans
from worker.engine.step.trainee import StepResult
from worker.trainer.report.job_trace import JobTrace, RoundTraces

COUNT, TURNS = 2_000, 5
STATES = {"no collector": None, "no trace kept": "always_off", "all traces kept": "always_on"}


class Taking(BaseHTTPRequestHandler):
    """Takes what the exporter sends."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def _collect(port: Connection) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Taking) as server:
        port.send(server.server_port)
        server.serve_forever()


def microseconds(work: Callable[[], object]) -> float:
    """Return the least processor time of a call, of several turns, with that of the thread that sends."""
    turns = []
    for _ in range(TURNS):
        began = time.process_time()
        work()
        turns.append(time.process_time() - began)
    return min(turns) / COUNT * 1e6


def requests() -> None:
    """Let the boundary answer."""
    app = SimpleNamespace(state=SimpleNamespace(request_counts=RequestCounts(Recorder())))
    boundary = Boundary(PlainTextResponse("ok"))
    headers = [(b"host", b"example.com"), (b"user-agent", b"bench")]

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_message: Any) -> None:
        pass

    async def answer_all() -> None:
        for _ in range(COUNT):
            scope = {"type": "http", "method": "GET", "path": "/v1/models", "query_string": b"", "app": app}
            await boundary({**scope, "headers": headers}, receive, send)

    asyncio.run(answer_all())


def rounds(jobs: int) -> None:
    """Tell the traces of jobs of the rounds that they train."""
    traces = [JobTrace(spans.begin("job.claim").traceparent) for _ in range(jobs)]
    telling = RoundTraces()
    for number in range(COUNT):
        if spans.is_on():
            step = [StepResult(number, 1.0, 0.5, 100, 0.1, 1.0)]
            telling.note(dict.fromkeys(traces, step), 0.1)
    telling.end()


def main() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))  # no lines on the screen
    ours, its = multiprocessing.Pipe()
    collector = multiprocessing.get_context("spawn").Process(target=_collect, args=(its,), daemon=True)
    collector.start()
    endpoint = f"http://127.0.0.1:{ours.recv()}"
    for state, sampler in STATES.items():
        if sampler is not None:
            os.environ |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_TRACES_SAMPLER": sampler}
            began = time.perf_counter()
            spans.start("api")
            print(f"  the start takes {time.perf_counter() - began:.2f} s")
        print(
            f"{state}: a request {microseconds(requests):.1f} µs, a round of one job "
            f"{microseconds(lambda: rounds(1)):.2f} µs, of 16 jobs {microseconds(lambda: rounds(16)):.1f} µs"
        )
    collector.kill()


if __name__ == "__main__":
    main()
