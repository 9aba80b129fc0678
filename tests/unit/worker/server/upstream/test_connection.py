"""A server is found only while its upstream answers as it must. The tests with vLLM itself are elsewhere."""

import asyncio
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr

from core.catalog import Catalog
from core.errors import ConfigurationError
from core.settings import Settings
from tests.fixtures.models.tiny import TINY, write_catalog
from worker.server.registration import NotReady
from worker.server.service import bases_of
from worker.server.upstream.connection import StateWhileAnswering, Upstream
from worker.server.upstream.errors import UpstreamLost


@contextmanager
def answering(answers: dict[str, Any], key: str = "") -> Iterator[str]:
    """Serve these answers by path, to whoever has the key, and yield the address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = not key or self.headers["authorization"] == f"Bearer {key}"
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(json.dumps(answers[self.path]).encode())

        def log_message(self, *_: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def vllm(version: str = "0.32.0") -> dict[str, Any]:
    models = [{"id": "f" * 64, "parent": "its-name"}, {"id": "its-name", "parent": None, "max_model_len": 64}]
    return {"/v1/models": {"data": models}, "/version": {"version": version}}


def test_the_upstreams_name_for_its_base_model_is_found() -> None:
    with answering(vllm("0.33.1.dev7+cpu"), key="k") as url:
        upstream = Upstream(TINY, url, "k")
        upstream.look()
    assert (upstream.model, upstream.max_length) == ("its-name", 64)


@pytest.mark.parametrize(
    ("answers", "key", "reason"),
    [
        (vllm("0.31.2"), "", "0.31.2, which is too old"),
        (vllm(), "other", "status 401, so TUNERY_SERVE_UPSTREAM_KEY is wrong"),
        ({"/v1/models": {"data": []}}, "", "does not answer as vLLM does"),
        ({"/v1/models": ["what"]}, "", "does not answer as vLLM does"),
    ],
    ids=["old", "key", "no model", "no vLLM"],
)
def test_an_upstream_that_is_not_as_it_must_be_is_not_ready(
    answers: dict[str, Any], key: str, reason: str
) -> None:
    with answering(answers, key) as url, pytest.raises(NotReady, match=reason) as raised:
        Upstream(TINY, url, "secret").look()
    assert "secret" not in str(raised.value)


def test_requests_end_once_the_upstream_was_silent_for_as_long_as_the_row_lasts(
    closed_port: int,
) -> None:
    upstream = Upstream(TINY, f"http://127.0.0.1:{closed_port}", None)
    ended: list[bool] = []
    watch = StateWhileAnswering(upstream, dict, lambda: ended.append(True))
    with pytest.raises(NotReady, match="ConnectError"):
        watch()
    assert ended == []
    upstream.answered_at -= 60
    with pytest.raises(NotReady):
        watch()
    assert ended == [True]


def test_a_request_to_an_upstream_that_is_gone_is_a_clear_error(closed_port: int) -> None:
    async def ask(upstream: Upstream) -> None:
        async with upstream.begun("/v1/chat/completions", {}):
            raise AssertionError

    for asked in (ask, Upstream.adapters, lambda upstream: upstream.load("name", "/folder")):
        with pytest.raises(UpstreamLost, match=r"does not answer \(ConnectError\)") as raised:
            asyncio.run(asked(Upstream(TINY, f"http://127.0.0.1:{closed_port}", None)))
        assert (raised.value.status, raised.value.code) == (503, "upstream_lost")


def test_the_state_of_a_server_names_the_upstreams_base_model() -> None:
    with answering(vllm()) as url:
        assert StateWhileAnswering(Upstream(TINY, url, None), lambda: {"running": 1}, list)() == {
            "running": 1,
            "resident": TINY,
        }


def test_a_server_has_the_one_base_model_of_its_upstream(tmp_path: Path) -> None:
    write_catalog(tmp_path / "catalog.toml", tmp_path)

    def bases(named: str) -> list[str]:
        key = SecretStr("k")
        settings = Settings(
            catalog_file=tmp_path / "catalog.toml", serve_upstream=named, serve_upstream_key=key
        )
        return bases_of(Catalog(settings.catalog_file), Upstream.of(settings))

    assert bases(f"{TINY}=http://vllm:8000") == [TINY]
    with pytest.raises(ConfigurationError, match=r"unknown.*tiny"):
        bases("unknown=http://vllm:8000")
