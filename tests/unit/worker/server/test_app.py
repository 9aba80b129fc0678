"""What the server answers by itself: who may ask it, which paths it has, and its numbers."""

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from core.secrets.vault import Vault
from core.serving.paths import CHAT, COMPLETIONS, COMPUTED, TOKENIZE
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.completions import CompletionRequest
from core.serving.schemas.tokens import TokenizeRequest
from core.serving.token import REQUEST_HEADER, server_token
from core.settings import Settings
from worker.server.app import ServerApp
from worker.server.exchange import MAX_BODY_BYTES, Exchange
from worker.server.strangers import KEY

SETTINGS = Settings(secret_keys=SecretStr(Vault.new_key()))
SECRET = server_token(SETTINGS.secret_keys)
TOKEN = {"authorization": f"Bearer {SECRET}"}


USAGE = {"prompt_tokens": 3, "completion_tokens": 2}
BODIES: Mapping[str, dict[str, Any]] = {
    CHAT: {"model": "m", "messages": [{"role": "user", "content": "Hello"}]},
    COMPLETIONS: {"model": "m", "prompt": "Hello"},
    TOKENIZE: {"model": "m", "prompt": "Hello"},
}


class Echo:
    """Answers with what it was asked, as a whole or as a stream, and counts tokens."""

    models = SimpleNamespace(
        resident="a-base",
        warm_adapters=["1", "2"],
        loading="3.2 of 16.1 GB are read",
        load=SimpleNamespace(running=1, waiting=2, pool_share=0.5),
    )

    def __init__(self, _get_renderer: Any) -> None:
        pass

    async def chat(self, exchange: Exchange, _request: ChatRequest, _served: Any) -> None:
        exchange.facts |= {"prompt_tokens": 3, "completion_tokens": 2}
        exchange.usage = USAGE
        await exchange.stream([b"1"])
        await exchange.stream([b"2", b"3"])
        await exchange.end_stream()

    async def complete(self, exchange: Exchange, _request: CompletionRequest, _served: Any) -> None:
        await exchange.answer(200, b'{"n": 1}')

    async def tokenize(self, _exchange: Exchange, _request: TokenizeRequest, _served: Any) -> None:
        raise RuntimeError("a secret")

    async def close(self) -> None:
        pass


@pytest.fixture
def server() -> ServerApp:
    return ServerApp(SETTINGS, lambda: Echo)


def test_the_tokens_of_a_request_are_told_by_its_id_once_it_has_ended(server: ServerApp) -> None:
    async def told() -> list[Any]:
        transport = httpx.ASGITransport(server)
        async with httpx.AsyncClient(transport=transport, base_url="http://server", headers=TOKEN) as client:
            early = asyncio.create_task(client.get(f"{COMPUTED}/one"))
            await asyncio.sleep(0)
            await client.post(CHAT, json=BODIES[CHAT], headers={REQUEST_HEADER: "one"})
            answers = [await early, await client.get(f"{COMPUTED}/one"), await client.get(f"{COMPUTED}/two")]
            return [answer.json()["usage"] for answer in answers]

    assert asyncio.run(told()) == [USAGE, USAGE, None]


def ask(server: Any, method: str, path: str, **options: Any) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(server)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            return await client.request(method, path, **options)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("POST", CHAT, {}, 401, "invalid_api_key"),
        ("POST", CHAT, {"authorization": "Bearer wrong"}, 401, "invalid_api_key"),
        ("POST", CHAT, {"authorization": f"Basic {SECRET}"}, 401, "invalid_api_key"),
        ("GET", "/elsewhere", {}, 401, "invalid_api_key"),
        ("POST", "/metrics", {}, 401, "invalid_api_key"),
        ("GET", f"{COMPUTED}/one", {}, 401, "invalid_api_key"),
        ("GET", "/elsewhere", TOKEN, 404, "unknown_url"),
        ("GET", CHAT, TOKEN, 404, "unknown_url"),
        ("POST", f"{CHAT}/", TOKEN, 404, "unknown_url"),
        ("PUT", "/", TOKEN, 404, "unknown_url"),
        ("POST", "/readyz", TOKEN, 404, "unknown_url"),
    ],
)
def test_only_the_api_is_answered_and_only_at_known_paths(
    server: ServerApp, method: str, path: str, headers: Mapping[str, str], status: int, code: str
) -> None:
    answer = ask(server, method, path, headers=headers, content=b"{}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/json"
    assert code != "unknown_url" or answer.json()["error"]["message"] == f"Invalid URL ({method} {path})"


@pytest.mark.parametrize("path", ["/readyz", "/metrics", "/elsewhere"])
@pytest.mark.parametrize(("headers", "lifted"), [({}, []), (TOKEN, [True])])
def test_who_shows_the_token_at_any_path_is_no_stranger(
    server: ServerApp, path: str, headers: Mapping[str, str], lifted: list[bool]
) -> None:
    found: list[bool] = []

    async def with_bounds(scope: Any, receive: Any, send: Any) -> None:
        await server({**scope, "state": {KEY: lambda: found.append(True)}}, receive, send)

    ask(with_bounds, "GET", path, headers=headers)
    assert found == lifted


def test_an_answer_is_whole_or_a_stream_of_events(server: ServerApp) -> None:
    stream = ask(server, "POST", CHAT, headers=TOKEN, json=BODIES[CHAT])
    assert stream.content == b"data: 1\n\ndata: 2\n\ndata: 3\n\ndata: [DONE]\n\n"
    assert dict(stream.headers) == {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
    }
    whole = ask(server, "POST", COMPLETIONS, headers=TOKEN, json=BODIES[COMPLETIONS])
    assert whole.content == b'{"n": 1}'
    assert dict(whole.headers) == {"content-type": "application/json", "content-length": "8"}


@pytest.mark.parametrize(
    ("path", "fields", "answers"),
    [
        (CHAT, {}, 1),
        (CHAT, {"n": 5}, 5),
        (COMPLETIONS, {"prompt": [1, 2, 3], "n": 2}, 2),
        (COMPLETIONS, {"prompt": ["a", "b", "c"], "n": 2}, 6),
        (COMPLETIONS, {"prompt": [[1], [2]]}, 2),
    ],
)
def test_a_request_holds_a_permit_for_each_of_its_answers(
    path: str, fields: dict[str, Any], answers: int
) -> None:
    """These are its prompts, times `n`."""
    held: list[int] = []

    class Holding(Echo):
        async def chat(self, exchange: Exchange, request: ChatRequest, served: Any) -> None:
            held.append(server.admission.held)
            await super().chat(exchange, request, served)

        async def complete(self, exchange: Exchange, request: CompletionRequest, served: Any) -> None:
            held.append(server.admission.held)
            await super().complete(exchange, request, served)

    server = ServerApp(SETTINGS, lambda: Holding)
    assert ask(server, "POST", path, headers=TOKEN, json=BODIES[path] | fields).status_code == 200
    assert held == [answers]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"no JSON", 400, "invalid_json"),
        (b"[]", 400, "invalid_json"),
        (b" " * (MAX_BODY_BYTES + 1), 413, None),
        (b"{}", 400, "invalid_value"),
        (json.dumps(BODIES[TOKENIZE]).encode(), 500, "sampling_failed"),
    ],
)
def test_a_wrong_body_and_an_error_of_ours_are_told(
    server: ServerApp, content: bytes, status: int, code: str
) -> None:
    answer = ask(server, "POST", TOKENIZE, headers=TOKEN, content=content)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert "secret" not in answer.text


def test_the_state_says_what_is_loaded_and_whether_the_server_stops() -> None:
    server = ServerApp(SETTINGS, lambda: Echo)
    idle = {"status": "ok", "base": None, "loading": None, "adapters": 0, "requests": 0, "sampler": None}
    assert ask(server, "GET", "/readyz").json() == idle
    ask(server, "POST", COMPLETIONS, headers=TOKEN, json=BODIES[COMPLETIONS])
    server.admission.draining = True
    state = ask(server, "GET", "/readyz")
    assert (state.status_code, state.json()) == (
        503,
        {
            "status": "stopping",
            "base": "a-base",
            "loading": "3.2 of 16.1 GB are read",
            "adapters": 2,
            "requests": 0,
            "sampler": {"running": 1, "waiting": 2, "cache": 0.5},
        },
    )
    refused = ask(server, "POST", COMPLETIONS, headers=TOKEN, json=BODIES[COMPLETIONS])
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "2")


def test_the_metrics_count_each_request_that_asks_for_work(server: ServerApp) -> None:
    ask(server, "POST", CHAT, headers=TOKEN, json=BODIES[CHAT])
    ask(server, "POST", COMPLETIONS, headers=TOKEN, json=BODIES[COMPLETIONS])
    ask(server, "POST", CHAT, content=b"{}")
    ask(server, "GET", "/elsewhere", headers=TOKEN)
    page = ask(server, "GET", "/metrics")
    assert page.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    samples = {
        (sample.name, *sample.labels.items()): sample.value
        for family in text_string_to_metric_families(page.text)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }
    assert samples.pop(("tunery_serve_answer_seconds_sum",)) < 60
    assert samples == {
        ("tunery_serve_requests",): 0,
        ("tunery_serve_adapters",): 2,
        ("tunery_serve_cache_share",): 0.5,
        ("tunery_serve_requests_total", ("status", "200")): 2,
        ("tunery_serve_requests_total", ("status", "401")): 1,
        ("tunery_serve_errors_total", ("code", "invalid_api_key")): 1,
        ("tunery_serve_tokens_total", ("kind", "prompt")): 3,
        ("tunery_serve_tokens_total", ("kind", "completion")): 2,
        ("tunery_serve_answer_seconds_count",): 1,
        ("tunery_serve_cached_tokens_total",): 0,
        ("tunery_serve_draft_tokens_total", ("outcome", "accepted")): 0,
        ("tunery_serve_draft_tokens_total", ("outcome", "rejected")): 0,
    }
