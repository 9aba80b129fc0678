"""Permits, quotas and usage of chats: what a project may have at once, and what it has used."""

import re
import socket
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from openai import OpenAI
from openai.types.admin.organization import UsageCompletionsResponse
from starlette.requests import ClientDisconnect
from starlette.types import Message, Send

from api.chat import relay
from api.chat.afterwards import Afterwards, Finished
from api.http.sending import send_in_time
from core.access.keys import revoke_key
from core.roles import Role
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, Tenant, refusal, strictly, wait_for
from tests.fixtures.service.serving import ServerProcess, Serving

pytestmark = pytest.mark.slow  # servers load models

CHAT = "/v1/chat/completions"
REST = 0.02  # seconds for which the server sleeps after each token
PATIENCE = 3.0  # seconds for which the API waits for a client that reads nothing
MB = 1024**2


def asked(tokens: int = 4, **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hello"}]
    return {"model": TINY, "messages": messages, "max_tokens": tokens, "ignore_eos": True, **body}


@pytest.fixture(scope="module")
def slow_server(serving: Serving) -> ServerProcess:
    return serving.start(rest=REST)


@pytest.fixture
def tenant(chat_api: Api, slow_server: ServerProcess) -> Tenant:
    return chat_api.tenant()


@contextmanager
def streaming(tenant: Tenant, tokens: int = 400, **body: Any) -> Iterator[Iterator[str]]:
    """Yield the lines of a stream, of which the first has come."""
    with tenant.http.stream("POST", CHAT, json=asked(tokens, stream=True, **body)) as answer:
        assert answer.status_code == 200, answer.read()
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        yield lines


def requests_at(server: ServerProcess) -> int:
    return int(server.state()["requests"])


def usage_of(tenant: Tenant) -> list[dict[str, Any]]:
    admin = tenant.api.tenant(tenant.project, Role.ADMIN)
    page = admin.http.get("/v1/organization/usage/completions").json()
    return [result for bucket in page["data"] for result in bucket["results"]]


def test_the_usage_of_a_day_adds_up_by_model(tenant: Tenant) -> None:
    answers = [tenant.http.post(CHAT, json=asked(4, n=2)).json()["usage"] for _ in range(2)]
    list(tenant.openai.chat.completions.create(**openai_asked(3), stream=True))
    [used] = usage_of(tenant)
    assert (used["model"], used["project_id"], used["num_model_requests"]) == (TINY, tenant.project_id, 3)
    assert used["output_tokens"] == sum(answer["completion_tokens"] for answer in answers) + 3 == 19
    assert used["input_tokens"] == answers[0]["prompt_tokens"] * 3

    admin = tenant.api.tenant(tenant.project, Role.ADMIN)
    with OpenAI(base_url=f"{admin.api.url}/v1", api_key=admin.key, admin_api_key=admin.key) as client:
        page = client.admin.organization.usage.completions(start_time=int(time.time()) - 3600)
    strictly(UsageCompletionsResponse, page.model_dump(exclude_unset=True))


def openai_asked(tokens: int) -> dict[str, Any]:
    body = asked(tokens)
    del body["ignore_eos"]
    return {**body, "extra_body": {"ignore_eos": True}}


def test_the_server_stops_when_the_client_leaves_and_what_it_had_written_is_counted(
    tenant: Tenant, slow_server: ServerProcess
) -> None:
    with streaming(tenant):
        assert requests_at(slow_server) == 1
    wait_for(lambda: requests_at(slow_server) == 0)
    [used] = wait_for(lambda: usage_of(tenant))
    assert 1 <= used["output_tokens"] < 400


def test_a_client_that_leaves_before_the_answer_stops_the_server_and_what_it_had_computed_is_counted(
    tenant: Tenant, slow_server: ServerProcess
) -> None:
    tenant.allow(tokens_per_minute=10_000)
    with pytest.raises(Exception, match="timed out"):
        tenant.http.post(CHAT, json=asked(400), timeout=1)
    wait_for(lambda: requests_at(slow_server) == 0)
    [used] = wait_for(lambda: usage_of(tenant))
    assert 1 <= used["output_tokens"] < 400
    assert used["input_tokens"] >= 1
    left = tenant.http.post(CHAT, json=asked(1)).headers["x-ratelimit-remaining-tokens"]
    assert int(left) == 10_000 - used["output_tokens"] - used["input_tokens"]


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Let the API lose its patience soon. The event is set when it has given up a client."""
    given_up = threading.Event()

    async def send(send: Send, message: Message) -> None:
        try:
            await send_in_time(send, message, PATIENCE)
        except ClientDisconnect:
            given_up.set()
            raise

    monkeypatch.setattr(relay, "send_in_time", send)
    return given_up


@contextmanager
def unread(tenant: Tenant, **body: Any) -> Iterator[None]:
    """Ask for 11 MB of answers with log-probabilities, and read nothing of them."""
    body |= {"n": 16, "logprobs": True, "top_logprobs": 20}
    request = httpx.Request("POST", f"{tenant.api.url}{CHAT}", json=asked(400, **body))
    request.headers["authorization"] = f"Bearer {tenant.key}"
    head = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    address = urlsplit(tenant.api.url)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect((address.hostname, address.port))
        client.sendall(f"POST {CHAT} HTTP/1.1\r\n{head}\r\n".encode() + request.read())
        yield


@pytest.mark.exhaustive
def test_a_whole_answer_that_nobody_reads_takes_no_memory_and_keeps_its_permit_until_it_is_given_up(
    tenant: Tenant, slow_server: ServerProcess, given_up: threading.Event
) -> None:
    tenant.allow(concurrent_chats=1)
    tenant.http.post(CHAT, json=asked(1))  # the first request waits for imports
    tracemalloc.start()
    try:
        with unread(tenant):
            wait_for(lambda: requests_at(slow_server) == 1)
            wait_for(lambda: requests_at(slow_server) == 0, 120)
            assert tenant.http.post(CHAT, json=asked(1)).status_code == 200
            assert given_up.is_set()
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4 * MB
    assert sum(used["output_tokens"] for used in usage_of(tenant)) == 16 * 400 + 2


def test_only_an_answer_that_shall_be_stored_waits_for_the_database_with_its_content(
    tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    tenant.allow(completion_bytes=MB)
    noted: list[Finished] = []
    note = Afterwards.note

    def seen(self: Afterwards, finished: Finished) -> None:
        noted.append(finished)
        note(self, finished)

    monkeypatch.setattr(Afterwards, "note", seen)
    answers = [tenant.http.post(CHAT, json=asked(2, store=stores)).content for stores in (False, True)]
    assert [each.answer for each in noted] == [None, answers[1]]


@pytest.mark.exhaustive
def test_what_the_server_has_computed_for_a_stream_that_nobody_reads_is_counted(
    tenant: Tenant, slow_server: ServerProcess, given_up: threading.Event
) -> None:
    with unread(tenant, stream=True):
        assert given_up.wait(120)
        [used] = wait_for(lambda: usage_of(tenant))
    computed = re.findall(r"completion_tokens\W+(\d+)", slow_server.log.read_text())
    assert used["output_tokens"] == int(computed[-1])


@pytest.mark.parametrize("stream", [True, False])
def test_an_answer_ends_soon_after_its_key_was_revoked(
    tenant: Tenant, slow_server: ServerProcess, stream: bool
) -> None:
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(tenant.http.post, CHAT, json=asked(450, stream=stream, n=4))
        wait_for(lambda: requests_at(slow_server) == 1)
        with tenant.api.sessions.begin() as session:
            revoke_key(session, tenant.key.split("_")[1])
        answer = asking.result(timeout=30)
    if stream:
        assert "The API key was revoked or has expired" in answer.text.splitlines()[-2]
        assert "[DONE]" not in answer.text
    else:
        refusal(answer, 401)
    wait_for(lambda: requests_at(slow_server) == 0)


def test_chats_beyond_the_quota_wait_for_a_permit_and_other_requests_do_not(tenant: Tenant) -> None:
    tenant.allow(concurrent_chats=1)
    with streaming(tenant), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tenant.http.post, CHAT, json=asked(1))
        for _ in range(5):
            assert tenant.http.get("/v1/models").status_code == 200
        assert not waiting.done()
    assert waiting.result().status_code == 200


def test_a_chat_takes_as_many_permits_as_it_has_answers(tenant: Tenant) -> None:
    tenant.allow(concurrent_chats=3)
    with streaming(tenant, n=2), ThreadPoolExecutor(1) as pool:
        assert tenant.http.post(CHAT, json=asked(1)).status_code == 200
        waiting = pool.submit(tenant.http.post, CHAT, json=asked(1, n=2))
        assert tenant.http.get("/v1/models").status_code == 200
        assert not waiting.done()
    assert waiting.result().status_code == 200
    assert len(tenant.http.post(CHAT, json=asked(1, n=8)).json()["choices"]) == 8  # it takes all there are


def test_two_api_processes_count_the_chats_of_a_project_together(
    tenant: Tenant, chat_api: Api, slow_server: ServerProcess
) -> None:
    tenant.allow(concurrent_chats=1)
    with chat_api.beside(chat_wait_seconds=1.0) as other:
        headers = {"authorization": f"Bearer {tenant.key}"}
        with httpx.Client(base_url=other.url, headers=headers, timeout=60, trust_env=False) as client:
            with streaming(tenant):
                answer = client.post(CHAT, json=asked(1))
                assert "has waited for 1 s" in refusal(answer, 429, code="rate_limit_exceeded")["message"]
            assert client.post(CHAT, json=asked(1)).status_code == 200


@pytest.mark.usefixtures("slow_server")
@pytest.mark.parametrize(
    ("limit", "says"),
    [({"chat_wait_seconds": 0.3}, "has waited for 0.3 s"), ({"project_waiting_chats": 0}, "0 more wait")],
)
def test_chats_that_wait_too_long_or_are_too_many_are_told_when_to_come_back(
    chat_api: Api, limit: dict[str, Any], says: str
) -> None:
    with chat_api.beside(**limit) as strict:
        tenant = strict.tenant()
        tenant.allow(concurrent_chats=1)
        with streaming(tenant):
            answer = tenant.http.post(CHAT, json=asked(1))
        assert says in refusal(answer, 429, code="rate_limit_exceeded")["message"]
        assert int(answer.headers["retry-after"]) >= 1


def test_open_streams_of_one_project_hold_up_neither_its_requests_nor_another_projects_chats(
    tenant: Tenant, chat_api: Api
) -> None:
    """There are more streams than the API has database connections."""
    other = chat_api.tenant()
    pool = chat_api.app.state.engine.pool
    streams = 25
    begun, go = threading.Barrier(streams + 1), threading.Event()

    def hold() -> None:
        with streaming(tenant):
            begun.wait(120)
            go.wait(120)

    with ThreadPoolExecutor(streams) as threads:
        held = [threads.submit(hold) for _ in range(streams)]
        begun.wait(120)
        try:
            assert pool.checkedout() == 0
            assert tenant.http.get("/v1/fine_tuning/jobs").status_code == 200
            assert other.http.post(CHAT, json=asked(1)).status_code == 200
        finally:
            go.set()
        for each in held:
            each.result()


def test_a_project_that_has_used_its_tokens_waits_for_the_next_minute(tenant: Tenant) -> None:
    tenant.allow(tokens_per_minute=30)
    first = tenant.http.post(CHAT, json=asked(8))
    assert first.json()["usage"]["total_tokens"] >= 30
    assert [first.headers[f"x-ratelimit-{kind}-tokens"] for kind in ("limit", "remaining")] == ["30", "30"]
    answer = tenant.http.post(CHAT, json=asked(8))
    assert "30 tokens a minute" in refusal(answer, 429, code="rate_limit_exceeded")["message"]
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["x-ratelimit-remaining-tokens"] == "0"
