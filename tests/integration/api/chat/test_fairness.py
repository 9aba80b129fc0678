"""A project that asks for very much neither holds up another one's chat nor tells it what it has sent."""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.fixtures.models.tiny import TINY
from tests.fixtures.rows.prompts import prompt_of
from tests.fixtures.service.api import Api, Tenant, wait_for
from tests.fixtures.service.serving import ServerProcess, Serving

pytestmark = pytest.mark.slow  # servers load models

REST = 0.02  # seconds for which the server sleeps after each step
SOON = 30  # seconds
PROMPTS, EACH, TOKENS = 64, 2, 100  # twice as many answers as are computed at once


@pytest.fixture(scope="module")
def server(serving: Serving) -> ServerProcess:
    return serving.start(rest=REST, serve_requests=str(PROMPTS))


def complete(tenant: Tenant, prompt: Any, tokens: int, answers: int = 1) -> httpx.Response:
    body = {"model": TINY, "prompt": prompt, "max_tokens": tokens, "n": answers, "ignore_eos": True}
    return tenant.http.post("/v1/completions", json=body, timeout=300)


def flood(pool: ThreadPoolExecutor, tenant: Tenant, server: ServerProcess) -> "Future[httpx.Response]":
    """Let a project fill the server by one request. Returns its answer, which takes a while."""
    complete(tenant, "Hello", 1)  # the first request waits for imports
    found = pool.submit(complete, tenant, [prompt_of(n, 30) for n in range(PROMPTS)], TOKENS, EACH)
    wait_for(lambda: server.state()["sampler"]["running"] >= PROMPTS / 2, SOON)
    return found


@pytest.mark.exhaustive
def test_a_chat_is_answered_beside_a_request_of_64_prompts_of_another_project(
    chat_api: Api, server: ServerProcess
) -> None:
    flooding, polite = chat_api.tenant(), chat_api.tenant()
    with ThreadPoolExecutor(1) as pool:
        flooded = flood(pool, flooding, server)
        began = time.monotonic()
        asked = {"model": TINY, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
        answer = polite.http.post("/v1/chat/completions", json=asked, timeout=SOON)
        assert answer.status_code == 200, answer.text
        waited = time.monotonic() - began
        assert flooded.result().json()["usage"]["completion_tokens"] == PROMPTS * EACH * TOKENS
        assert waited < (time.monotonic() - began) / 4


def test_a_project_does_not_learn_from_cached_tokens_what_another_one_has_sent(
    chat_api: Api, server: ServerProcess
) -> None:
    one, other = chat_api.tenant(), chat_api.tenant()
    prompt = prompt_of(99, 100)

    def cached(tenant: Tenant) -> int:
        usage = complete(tenant, prompt, 1).json()["usage"]
        return int(usage["prompt_tokens_details"]["cached_tokens"])

    assert [cached(tenant) for tenant in (one, other, one, other)] == [0, 0, 96, 96]
