"""Puts load on an HTTP server from one asyncio thread, with closed loops over kept-alive connections.

It needs little computing, since it shares the machine with the server that it measures. A request is bytes
that were made before, and only the status and the length of an answer are read. It supports only the part of
HTTP/1.1 that our API needs.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

Request = Callable[[], bytes]


@dataclass
class Load:
    """The answers to a load. `latencies` are in seconds, one for each answer."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        """Answers per second."""
        return len(self.latencies) / self.seconds

    def percentile(self, share: float) -> float:
        """Return the seconds within which `share` (0 to 1) of the answers came. There must be one."""
        return percentile(self.latencies, share)


def percentile(seconds: Sequence[float], share: float) -> float:
    """Return the time that `share` (0 to 1) of these did not exceed. There must be one."""
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


class _Connection(asyncio.Protocol):
    """One client: it asks, waits for the whole answer, waits `pause` seconds, and asks again."""

    def __init__(self, request: Request, load: Load, pause: float) -> None:
        self._request, self._load, self._pause = request, load, pause
        self._answer = bytearray()
        self._missing: int | None = None  # bytes of the body; None until the head is there
        self._sent_at = 0.0
        self._asking = False
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's does not inherit from it
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if self._missing is None:
            head_length = self._answer.find(b"\r\n\r\n")
            if head_length < 0:
                return
            head = bytes(self._answer[:head_length]).lower()
            _, found, rest = head.partition(b"content-length:")
            body_length = int(rest.partition(b"\r\n")[0]) if found else 0
            self._status = int(head[9:12])
            self._missing = head_length + 4 + body_length
        if len(self._answer) >= self._missing:
            self._load.latencies.append(time.perf_counter() - self._sent_at)
            self._load.statuses[self._status] += 1
            self._answer.clear()
            self._missing = None
            self._asking = False
            if self._pause:
                asyncio.get_running_loop().call_later(self._pause, self._ask)
            else:
                self._ask()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        if self._asking and not self._stopping:
            self._load.statuses[0] += 1

    _stopping = False

    def stop(self) -> None:
        self._stopping = True
        self._transport.close()

    def _ask(self) -> None:
        if not self._stopping:
            self._asking = True
            self._sent_at = time.perf_counter()
            self._transport.write(self._request())


async def run(
    ports: Sequence[int],
    request: Request,
    *,
    clients: int,
    seconds: float,
    pause: float = 0.0,
) -> Load:
    """Run `clients` closed loops, spread evenly over the servers on `ports` of this machine.

    Each waits `pause` seconds after an answer.
    """
    loop = asyncio.get_running_loop()
    load = Load()
    connections = []
    for number in range(clients):
        _, connection = await loop.create_connection(
            lambda: _Connection(request, load, pause), "127.0.0.1", ports[number % len(ports)]
        )
        connections.append(connection)
    began = time.perf_counter()
    await asyncio.sleep(seconds)
    load.seconds = time.perf_counter() - began
    for connection in connections:
        connection.stop()
    await asyncio.gather(*(connection.ended for connection in connections))
    return load


def get(path: str, key: str, **headers: str) -> bytes:
    return _head("GET", path, key, headers)


def post(path: str, key: str, body: bytes) -> bytes:
    length = {"content-type": "application/json", "content-length": str(len(body))}
    return _head("POST", path, key, length) + body


def _head(method: str, path: str, key: str, headers: dict[str, str]) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {key}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()
