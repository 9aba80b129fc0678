"""Offers a grader to a service: as it is, or behind an address of this process if no sandbox can run it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from bench.peers.rewards import Row, reward_function

HOST = "127.0.0.1"
SETTINGS = {"TUNERY_EGRESS_ALLOW": HOST}
"""The settings with which a service asks such an address."""


@contextmanager
def offered(grader: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the grader as a request names it. The `source` of an endpoint answers until the context ends."""
    if grader["type"] != "endpoint":
        yield grader
        return
    server = ThreadingHTTPServer((HOST, 0), answering(reward_function(grader)))
    thread = threading.Thread(target=server.serve_forever, name="grader", daemon=True)
    thread.start()
    try:
        yield {"type": "endpoint", "name": grader["name"], "url": f"http://{HOST}:{server.server_port}/"}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answering(reward: Callable[[str, Row], float]) -> type[BaseHTTPRequestHandler]:
    """Return a handler that answers each sample with its score."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
            score = reward(asked["sample"]["output_text"], asked["item"])
            body = json.dumps({"score": score}).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Print nothing for each sample."""

    return Handler
