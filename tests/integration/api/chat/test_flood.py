"""Many chats of one project at once, and clients that hardly read: each gets an answer, or learns its end.

Nothing is left of them.
"""

import asyncio
import json
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from core.access.rates import Counters
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.serving import ServerProcess, Serving

pytestmark = pytest.mark.slow  # a server loads a model

CHAT = "/v1/chat/completions"
REQUESTS, AT_ONCE, WAITING = 1000, 8, 40
REST = 0.02  # seconds for which the server sleeps after each token
MOST_GROWTH = 64 * 1024**2  # bytes of memory, of the clients too: they run in this process
LONG: dict[str, Any] = {"n": 16, "stream": True, "logprobs": True, "top_logprobs": 20}


@pytest.fixture(scope="module")
def server(serving: Serving) -> ServerProcess:
    """Return a slow server that takes fewer requests than the project may send at once."""
    return serving.start(rest=REST, serve_requests=str(AT_ONCE // 2))


@pytest.fixture
def tenant(chat_api: Api, server: ServerProcess) -> Tenant:
    tenant = chat_api.tenant()
    tenant.allow(concurrent_chats=AT_ONCE)
    return tenant


def request_of(tenant: Tenant, tokens: int = 8, **body: Any) -> bytes:
    messages = [{"role": "user", "content": "Hello"}]
    chat = {"model": TINY, "messages": messages, "max_tokens": tokens, "ignore_eos": True, **body}
    content = json.dumps(chat).encode()
    return (
        f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {tenant.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    ).encode() + content


async def ask(where: tuple[str, int], request: bytes) -> tuple[int, bool]:
    """Return the status of an answer, and whether it is whole or tells when to come back."""
    reader, writer = await asyncio.open_connection(*where)
    writer.write(request)
    head, _, body = (await reader.read(-1)).partition(b"\r\n\r\n")
    writer.close()
    status = int(head.split(b" ", 2)[1])
    if status != 200:
        assert json.loads(body)["error"]["message"]
        return status, b"\r\nretry-after: " in head.lower()
    return status, b"data: [DONE]\n\n" in body if b"text/event-stream" in head else b'"choices"' in body


def flood(tenant: Tenant, requests: int) -> Counter[tuple[int, bool]]:
    """Send so many chats at once, every second one streamed."""
    asked = [request_of(tenant, stream=streamed) for streamed in (False, True)]

    async def send_all() -> list[tuple[int, bool]]:
        where = address_of(tenant)
        return await asyncio.gather(*(ask(where, asked[number % 2]) for number in range(requests)))

    return Counter(asyncio.run(send_all()))


def address_of(tenant: Tenant) -> tuple[str, int]:
    url = urlsplit(tenant.api.url)
    return str(url.hostname), int(url.port or 0)


def permits_left(api: Api, project_id: str) -> int:
    redis: Any = Counters(api.settings.server("broker_url")).storage.storage
    return int(redis.zcard(f"tunery-chats:{{{project_id}}}"))


@contextmanager
def lazy_client(tenant: Tenant, request: bytes) -> Iterator[socket.socket]:
    """Send a request on a connection with a small buffer, and yield the connection."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.settimeout(30)
        line.connect(address_of(tenant))
        line.sendall(request)
        yield line


def connected(tenant: Tenant) -> list[Any]:
    """Return the connections that the API, which runs in this process, has with clients of the tests."""
    here = address_of(tenant)
    return [each for each in psutil.Process().net_connections("tcp") if each.laddr == here and each.raddr]


def rest_of(line: socket.socket) -> bytes:
    return b"".join(iter(lambda: line.recv(65536), b""))


@pytest.mark.exhaustive
def test_a_thousand_chats_at_once_are_answered_or_told_when_to_come_back(
    chat_api: Api, server: ServerProcess
) -> None:
    with chat_api.beside(project_waiting_chats=WAITING) as strict:
        answered_or_told(strict, strict.tenant(), server)


def answered_or_told(api: Api, tenant: Tenant, server: ServerProcess) -> None:
    tenant.allow(concurrent_chats=AT_ONCE)
    process = psutil.Process()
    flood(tenant, AT_ONCE)
    before, memory = len(connected(tenant)), process.memory_info().rss
    found = flood(tenant, REQUESTS)
    assert set(found) <= {(200, True), (429, True), (503, True)}
    assert found[200, True] >= AT_ONCE
    assert found[429, True] >= REQUESTS / 4
    wait_for(lambda: permits_left(api, tenant.project_id) == 0)
    wait_for(lambda: len(connected(tenant)) <= before)
    assert process.memory_info().rss - memory < MOST_GROWTH
    assert server.state()["requests"] == 0
    assert flood(tenant, AT_ONCE) == {(200, True): AT_ONCE}


@pytest.mark.exhaustive
def test_a_client_that_reads_a_byte_now_and_then_holds_up_nobody_and_loses_a_long_stream(
    chat_api: Api, tenant: Tenant, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.http.sending.SEND_SECONDS", 1)
    other = chat_api.tenant()
    with lazy_client(tenant, request_of(tenant, 480, **LONG)) as line:
        assert line.recv(1)
        assert flood(other, 2) == {(200, True): 2}
        mine = line.getsockname()
        wait_for(lambda: line.recv(1) and mine not in [each.raddr for each in connected(tenant)], 60)
        assert b"[DONE]" not in rest_of(line)
    wait_for(lambda: server.state()["requests"] == 0)


def test_a_short_stream_is_whole_however_slowly_it_is_read(tenant: Tenant) -> None:
    got = bytearray()
    with lazy_client(tenant, request_of(tenant, 60, stream=True)) as line:
        for _ in range(10):
            got += line.recv(1)
            time.sleep(0.05)
        assert flood(tenant, 2) == {(200, True): 2}
        got += rest_of(line)
    assert got.count(b'"finish_reason":"length"') == 1
    assert b"data: [DONE]\n\n" in got
