"""A server's life: it registers, loads a model when asked for it, drains, dies, and bounds what it holds."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from core.serving import registry
from core.serving.served_model import SERVED_FIELD
from tests.fixtures.models.tiny import OTHER, TINY
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.service.api import wait_for
from tests.fixtures.service.serving import TOOLS, ServerProcess, Serving, chat_body, served
from worker.supervisor.retention import remove_gone_servers

REST = 0.1  # seconds that a slow server sleeps after each step: a long answer takes 40 seconds
SOON = 30  # seconds
LONG: dict[str, Any] = {"max_tokens": 400, "ignore_eos": True, "stream": True}


@pytest.fixture(scope="module")
def slow(serving: Serving) -> ServerProcess:
    """Return a server whose answers take a while."""
    return serving.start(rest=REST)


@contextmanager
def long_answer(server: ServerProcess, **body: Any) -> Iterator[Iterator[dict[str, Any]]]:
    """Yield the events of a long answer that has begun."""
    request = chat_body(**{**LONG, **body})
    with server.http.stream("POST", "/v1/chat/completions", json=request) as answer:
        assert answer.status_code == 200
        lines = (line.removeprefix("data: ") for line in answer.iter_lines() if line)
        events = (json.loads(line) for line in lines if line != "[DONE]")
        next(events)
        yield events


def test_a_server_is_registered_for_the_bases_of_its_catalog(serving: Serving, slow: ServerProcess) -> None:
    row = serving.row_of(slow)
    assert row.bases == [TINY, OTHER, TOOLS]
    assert slow.url in serving.live()
    with serving.sessions() as session:
        assert registry.live_servers(session, "unknown") == []


def test_a_client_that_goes_away_frees_what_its_answer_held(slow: ServerProcess) -> None:
    with long_answer(slow, n=4):
        wait_for(lambda: slow.state()["sampler"]["running"] == 4, SOON)
    wait_for(lambda: slow.state()["requests"] == 0, SOON)
    wait_for(lambda: slow.state()["sampler"]["running"] == 0, SOON)


def test_a_client_that_does_not_wait_for_its_answer_frees_it_too(slow: ServerProcess) -> None:
    with pytest.raises(httpx.ReadTimeout):
        slow.http.post("/v1/chat/completions", json=chat_body(max_tokens=400, ignore_eos=True), timeout=0.5)
    wait_for(lambda: slow.state()["requests"] == 0, SOON)
    wait_for(lambda: slow.state()["sampler"]["running"] == 0, SOON)


def test_a_client_that_hardly_reads_holds_up_nobody_and_loses_no_text(server: ServerProcess) -> None:
    server.chat()
    body = chat_body(n=16, **{**LONG, "max_tokens": 480})
    with _connected(server, body, receive_bytes=4096) as lazy:
        got = lazy.recv(1)
        wait_for(lambda: server.state()["sampler"]["running"] == 0, 60)
        assert server.chat().status_code == 200
        while more := lazy.recv(65536):
            got += more
    assert got.count(b'"finish_reason":"length"') == 16
    assert b"[DONE]" in got


def test_log_probabilities_that_nobody_reads_fill_no_memory(server: ServerProcess) -> None:
    server.chat()
    before = server.process.memory_info().rss
    body = chat_body(n=16, **{**LONG, "max_tokens": 480, "logprobs": True, "top_logprobs": 20})
    with _connected(server, body, receive_bytes=4096) as lazy:
        assert lazy.recv(1)
        wait_for(lambda: server.state()["requests"] == 0, 60)
    assert server.process.memory_info().rss - before < 64 * 1024**2
    # The log follows a last word to the client, for which the server takes a moment
    wait_for(lambda: "error=reader_too_slow" in server.log.read_text(), SOON)


def test_a_base_model_is_released_when_nobody_uses_it_and_loaded_again(serving: Serving) -> None:
    server = serving.start(serve_idle_seconds="0.3")
    assert server.state()["base"] is None
    for _ in range(2):
        assert server.chat().status_code == 200
        wait_for(lambda: server.state()["base"] is None, SOON)


def test_requests_for_several_bases_take_turns(server: ServerProcess) -> None:
    for base in (TINY, TOOLS, TINY):
        body = {"model": base, SERVED_FIELD: served(base=base)}
        assert server.chat(**body).status_code == 200
        assert server.state()["base"] == base


def test_a_request_does_not_wait_for_ever(serving: Serving) -> None:
    server = serving.start(rest=REST, serve_wait_seconds="2")
    wait_for(
        lambda: server.chat(max_tokens=1).status_code == 200, 60
    )  # the first one may wait for the imports
    with long_answer(server):
        answer = server.chat(model=TOOLS, **{SERVED_FIELD: served(base=TOOLS)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "server_busy")
        assert answer.headers["retry-after"]


def test_at_sigterm_answers_are_finished_and_nothing_new_begins(serving: Serving) -> None:
    server = serving.start(rest=0.02)
    server.chat(max_tokens=1)
    with long_answer(server, max_tokens=300) as events:
        server.process.terminate()
        wait_for(lambda: server.url not in serving.live(), SOON)
        refused = server.chat()
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "server_stopping")
        reasons = [event["choices"][0]["finish_reason"] for event in events]
    assert reasons[-1] == "length"
    server.process.wait(120)


def test_a_server_that_was_killed_is_ignored_and_forgotten(serving: Serving) -> None:
    server = serving.start()
    server.process.kill()
    assert server.url in {row.address for row in serving.rows()}
    wait_for(lambda: server.url not in serving.live(), 30)
    remove_gone_servers(serving.sessions)
    assert server.url not in {row.address for row in serving.rows()}


def test_a_server_that_nobody_asks_imports_no_torch(serving: Serving) -> None:
    """This server starts from nothing, because the others are forks of a process that has imported torch."""
    known = {row.id for row in serving.rows()}
    process = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "serve"],
        cwd=REPOSITORY,
        env=serving.environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: {row.id for row in serving.rows()} - known, 240)
        assert "torch" not in Path(f"/proc/{process.pid}/maps").read_text()
        assert psutil.Process(process.pid).memory_info().rss < 160 * 1024**2
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(120)


def test_a_server_without_a_secret_key_does_not_start(serving: Serving) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "cli.main", "serve"],
        cwd=REPOSITORY,
        env=serving.environment(secret_keys=""),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 2
    assert "TUNERY_SECRET_KEYS is not set" in ended.stderr


@contextmanager
def _connected(server: ServerProcess, body: dict[str, Any], receive_bytes: int) -> Iterator[socket.socket]:
    """Send a request on a connection with a small buffer, and yield the connection."""
    where = urlsplit(server.url)
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        line.settimeout(30)
        line.connect((where.hostname, where.port))
        line.sendall(_request(server, body))
        yield line


def _request(server: ServerProcess, body: dict[str, Any]) -> bytes:
    content = json.dumps(body).encode()
    lines = [
        "POST /v1/chat/completions HTTP/1.1",
        f"host: {urlsplit(server.url).netloc}",
        f"authorization: {server.http.headers['authorization']}",
        "content-type: application/json",
        f"content-length: {len(content)}",
        "connection: close",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + content
