"""Many chats of one project at once: each is answered or told when to come back. Nothing is left of them."""

import asyncio
import json
from collections import Counter
from typing import Any

import httpx
import pytest

from tests.fixtures.api import Api, Tenant, wait_for
from tests.fixtures.completions import allow
from tests.fixtures.serving import ServerProcess, Serving
from tests.fixtures.tiny import TINY

pytestmark = pytest.mark.slow  # a server loads a model

CHAT = "/v1/chat/completions"
REQUESTS, AT_ONCE, WAITING = 100, 8, 40


@pytest.fixture(scope="module")
def server(serving: Serving) -> ServerProcess:
    """Return a server that takes fewer requests than the project may send at once."""
    return serving.start(serve_requests=str(AT_ONCE // 2))


async def ask(client: httpx.AsyncClient, streamed: bool) -> tuple[int, bool]:
    """Return the status of an answer, and whether it is whole or tells when to come back."""
    messages = [{"role": "user", "content": "Hello"}]
    body = {"model": TINY, "messages": messages, "max_tokens": 2, "stream": streamed}
    answer = await client.post(CHAT, json=body)
    if answer.status_code != 200:
        assert json.loads(answer.text)["error"]["message"]
        return answer.status_code, "retry-after" in answer.headers
    return 200, answer.text.endswith("data: [DONE]\n\n") if streamed else bool(answer.json()["choices"])


def flood(tenant: Tenant, requests: int) -> Counter[tuple[int, bool]]:
    """Send so many chats at once, every second one streamed."""

    async def send_all() -> list[tuple[int, bool]]:
        headers = {"authorization": f"Bearer {tenant.key}"}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(
            base_url=tenant.api.url, headers=headers, limits=limits, timeout=180, trust_env=False
        ) as client:
            return await asyncio.gather(*(ask(client, number % 2 == 0) for number in range(requests)))

    return Counter(asyncio.run(send_all()))


def turns_left(api: Api, project_id: str) -> int:
    redis: Any = api.app.state.chat.turns._shared._redis
    return int(redis.zcard(f"tunery-chats:{project_id}"))


def test_many_chats_at_once_are_answered_or_told_when_to_come_back(
    chat_api: Api, server: ServerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_api.app.state.chat.turns, "_most_waiting", WAITING)
    tenant = chat_api.tenant()
    allow(tenant, concurrent_chats=AT_ONCE)
    found = flood(tenant, REQUESTS)
    assert set(found) <= {(200, True), (429, True), (503, True)}
    assert found[200, True] >= AT_ONCE
    assert found[429, True] >= REQUESTS - 2 * (AT_ONCE + WAITING)
    wait_for(lambda: turns_left(chat_api, tenant.project_id) == 0)
    assert server.state()["requests"] == 0
    assert flood(tenant, AT_ONCE) == {(200, True): AT_ONCE}
