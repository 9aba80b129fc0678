"""Servers that die, stop or are full: another one does what had not begun, and streams end with an error."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import openai
import pytest
from sqlalchemy import delete

from core.serving.dispatch.watch import LOOK
from core.tables import Server
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api, Tenant, refusal, wait_for
from tests.fixtures.service.serving import ServerProcess, Serving

pytestmark = pytest.mark.slow  # servers load models

CHAT = "/v1/chat/completions"


def asked(tokens: int = 4, **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "Hello"}]
    return {"model": TINY, "messages": messages, "max_tokens": tokens, "ignore_eos": True, **body}


@pytest.fixture
def tenant(chat_api: Api) -> Tenant:
    return chat_api.tenant()


@pytest.fixture
def two(serving: Serving) -> Iterator[list[ServerProcess]]:
    """Yield two servers that sleep long after each token. No other server runs."""
    pair = [serving.start(rest=0.05) for _ in range(2)]
    yield pair
    for server in pair:
        server.close()
    with serving.sessions.begin() as session:
        session.execute(delete(Server))


def at_work(server: ServerProcess) -> bool:
    return bool(server.process.is_running() and server.state()["requests"])


def test_a_stream_whose_server_dies_ends_with_an_error_event(
    tenant: Tenant, two: list[ServerProcess]
) -> None:
    body = asked(400)
    extra = {"ignore_eos": body.pop("ignore_eos")}
    stream = tenant.openai.chat.completions.create(**body, extra_body=extra, stream=True)
    assert next(iter(stream)).choices
    [working] = [server for server in two if at_work(server)]
    working.process.kill()
    with pytest.raises(openai.APIError, match="stopped before the answer was complete") as raised:
        list(stream)
    assert raised.value.code == "server_lost"


def test_what_a_dead_server_had_not_begun_is_done_by_another(
    tenant: Tenant, two: list[ServerProcess]
) -> None:
    """A whole answer has not begun before it is complete."""
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tenant.http.post, CHAT, json=asked(60))
        working = wait_for(lambda: next(filter(at_work, two), None))
        working.process.kill()
        answer = waiting.result()
    assert answer.status_code == 200, answer.text
    assert answer.json()["usage"]["completion_tokens"] == 60


def test_a_request_that_brings_down_two_servers_is_given_up(tenant: Tenant, two: list[ServerProcess]) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tenant.http.post, CHAT, json=asked(400))
        left = list(two)
        while left:
            working = wait_for(lambda: next(filter(at_work, left), None))
            left.remove(working)
            working.process.kill()
        refusal(waiting.result(), 503, code="server_lost")


@contextmanager
def begun_stream(tenant: Tenant, two: list[ServerProcess]) -> Iterator[tuple[ServerProcess, Iterator[str]]]:
    """Yield the server that writes an answer, and the lines of the answer after the first one."""
    with tenant.http.stream("POST", CHAT, json=asked(400, stream=True)) as stream:
        lines = filter(None, stream.iter_lines())
        next(lines)
        [working] = [server for server in two if at_work(server)]
        yield working, lines


@pytest.mark.exhaustive
def test_a_stream_whose_server_freezes_ends_with_an_error_event_within_seconds(
    tenant: Tenant, two: list[ServerProcess]
) -> None:
    with begun_stream(tenant, two) as (working, lines):
        working.process.suspend()
        *_, last = lines
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "server_lost"


@pytest.mark.exhaustive
def test_what_a_frozen_server_had_not_begun_is_done_by_another(
    tenant: Tenant, serving: Serving, two: list[ServerProcess]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(tenant.http.post, CHAT, json=asked(60))
        working = wait_for(lambda: next(filter(at_work, two), None))
        working.process.suspend()
        with serving.sessions.begin() as session:  # as if seven seconds had passed
            session.execute(delete(Server).where(Server.address == working.url))
        answer = waiting.result()
    assert answer.status_code == 200, answer.text


@pytest.mark.exhaustive
def test_a_server_whose_loop_hangs_is_left_within_ten_seconds_until_it_goes_on(
    tenant: Tenant, serving: Serving, two: list[ServerProcess]
) -> None:
    """Its other threads go on, so it could still report itself."""
    hanging, other = two
    with hanging.hanging_loop():
        wait_for(lambda: serving.live() == [other.url], 10)
        answers = [tenant.http.post(CHAT, json=asked(2)) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200] * 3
    wait_for(lambda: hanging.url in serving.live(), 10)


@pytest.mark.exhaustive
def test_a_stream_whose_servers_loop_hangs_ends_with_an_error_event_within_seconds(
    tenant: Tenant, two: list[ServerProcess]
) -> None:
    with begun_stream(tenant, two) as (working, lines):
        began = time.monotonic()
        with working.hanging_loop():
            *_, last = lines
            assert time.monotonic() - began < 20
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "server_lost"


def test_a_stream_goes_on_though_its_server_cannot_report_itself(
    tenant: Tenant, serving: Serving, two: list[ServerProcess]
) -> None:
    """A server whose row has expired is asked directly before its streams are ended."""
    with tenant.http.stream("POST", CHAT, json=asked(400, stream=True)) as stream:
        lines = filter(None, stream.iter_lines())
        next(lines)
        until = time.monotonic() + 3 * LOOK
        while time.monotonic() < until:
            with serving.sessions.begin() as session:
                session.execute(delete(Server))
            assert "error" not in json.loads(next(lines).removeprefix("data: "))


def test_a_server_that_stops_is_left_and_what_waits_there_goes_to_another(
    tenant: Tenant, two: list[ServerProcess]
) -> None:
    stopping, other = two
    stopping.process.terminate()
    answers = [tenant.http.post(CHAT, json=asked(2)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200] * 3
    stopping.process.wait(120)
    assert other.state()["status"] == "ok"


def test_when_all_servers_are_full_requests_wait_and_are_then_told_to_come_back(
    serving: Serving, chat_api: Api
) -> None:
    server = serving.start(rest=0.05, serve_requests="1")
    with chat_api.beside(chat_wait_seconds=1.0) as hasty:
        refused_while_full(hasty.tenant())
    server.close()


def refused_while_full(tenant: Tenant) -> None:
    with tenant.http.stream("POST", CHAT, json=asked(400, stream=True)) as stream:
        lines = stream.iter_lines()  # if it is not kept, the client closes the connection
        next(lines)
        began = time.monotonic()
        answer = tenant.http.post(CHAT, json=asked(1))
        refusal(answer, 429, code="rate_limit_exceeded")
        assert time.monotonic() - began >= 1
    assert answer.headers["retry-after"]
    assert tenant.http.post(CHAT, json=asked(1)).status_code == 200


def test_an_api_that_stops_ends_its_streams_with_an_error_event(
    serving: Serving, chat_api: Api, tenant: Tenant, two: list[ServerProcess]
) -> None:
    with tenant.http.stream("POST", CHAT, json=asked(400, stream=True)) as stream:
        lines = stream.iter_lines()
        next(lines)
        chat_api.app.state.chat.stopping.set()
        try:
            *_, last = filter(None, lines)
        finally:
            chat_api.app.state.chat.stopping.clear()
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "server_stopping"
