"""Who has not shown the token takes next to nothing from a server, and holds up nobody who has."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from tests.fixtures.service.api import wait_for
from tests.fixtures.service.serving import ServerProcess
from worker.server.strangers import AT_ONCE, BYTES, SECONDS

PATIENCE = 60


@pytest.fixture
def opened(server: ServerProcess) -> Iterator[ExitStack]:
    """Yield what closes the connections of a test."""
    server.chat()
    with ExitStack() as stack:
        yield stack


def connect(server: ServerProcess, opened: ExitStack) -> socket.socket:
    url = urlsplit(server.url)
    assert url.hostname is not None
    assert url.port is not None
    return opened.enter_context(socket.create_connection((url.hostname, url.port), PATIENCE))


def is_closed(line: socket.socket) -> bool:
    try:
        return line.recv(1) == b""
    except ConnectionError:
        return True


def test_a_wrong_token_is_refused_before_the_body_comes(server: ServerProcess, opened: ExitStack) -> None:
    line = connect(server, opened)
    line.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer no\r\n"
        b"content-length: 1000000\r\n\r\n{"
    )
    line.settimeout(5)  # a body has ten seconds to come
    assert line.recv(4096).startswith(b"HTTP/1.1 401 ")


@pytest.mark.exhaustive
def test_connections_that_say_nothing_are_few_and_short(server: ServerProcess, opened: ExitStack) -> None:
    before = len(server.process.net_connections())
    lines = [connect(server, opened) for _ in range(3 * AT_ONCE)]
    wait_for(lambda: len(server.process.net_connections()) - before <= AT_ONCE, PATIENCE)
    assert server.chat().status_code == 200
    last = lines[-1]
    last.settimeout(SECONDS + PATIENCE)
    assert is_closed(last)


def test_more_connections_at_once_than_strangers_may_have_are_answered_if_they_show_the_token(
    server: ServerProcess, opened: ExitStack
) -> None:
    token = server.http.headers["authorization"]
    asked = f"GET /elsewhere HTTP/1.1\r\nhost: a\r\nauthorization: {token}\r\n\r\n".encode()
    server.process.suspend()  # so that all of them wait to be accepted
    try:
        lines = [connect(server, opened) for _ in range(3 * AT_ONCE)]
        for line in lines:
            line.sendall(asked)
    finally:
        server.process.resume()
    assert [line.recv(12) for line in lines] == [b"HTTP/1.1 404"] * len(lines)


def send_headers(line: socket.socket, size: int) -> None:
    line.sendall(b"GET /readyz HTTP/1.1\r\n")
    for _ in range(size // 1024):
        line.sendall(b"x: " + b"y" * 1024 + b"\r\n")
    line.recv(1)


def test_headers_without_end_are_cut_off(server: ServerProcess, opened: ExitStack) -> None:
    line = connect(server, opened)
    with pytest.raises(ConnectionError):
        send_headers(line, 2 * BYTES)
