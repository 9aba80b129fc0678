"""Beyond its connections, the API refuses requests in the form of all errors, and goes on when some close."""

import socket
from contextlib import ExitStack
from urllib.parse import urlsplit

import httpx
import pytest

from tests.fixtures.service.api import Api, refusal, wait_for

MOST = 3


def test_requests_beyond_the_connections_are_refused_until_some_close(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.server.connection_limit", lambda: MOST)
    with api.beside() as crowded:
        where = urlsplit(crowded.url)
        with ExitStack() as idle:
            for _ in range(MOST):
                idle.enter_context(socket.create_connection((where.hostname, where.port)))
            wait_for(lambda: crowded.app.state.is_crowded())
            answer = httpx.get(f"{crowded.url}/v1/models", trust_env=False)
            assert "connections" in refusal(answer, 503, code="too_many_connections")["message"]
            assert answer.headers["retry-after"]
            assert answer.headers["connection"] == "close"
        wait_for(lambda: httpx.get(f"{crowded.url}/healthz", trust_env=False).status_code == 200)
