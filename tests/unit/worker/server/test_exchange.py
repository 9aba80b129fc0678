"""A request ends when its client goes away, when it waits too long, and when the server stops."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.types import Message

from worker.server.admission import Admission
from worker.server.exchange import Exchange

Work = Callable[[Exchange], Awaitable[None]]


class Line:
    """A connection: what the client sends, and what it gets."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.gone = asyncio.Event()
        self._has_body = True

    async def receive(self) -> Message:
        if self._has_body:
            self._has_body = False
            return {"type": "http.request", "body": b"{}", "more_body": False}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def code(self) -> str:
        return str(json.loads(self.body.removeprefix(b"data: "))["error"]["code"])


async def start(admission: Admission, work: Work) -> tuple[Line, "asyncio.Task[None]"]:
    """Begin a request, and let it come to the point at which it waits."""
    line = Line()
    scope = {"type": "http", "headers": []}

    async def placed(exchange: Exchange, _body: bytes) -> None:
        with admission.permit(exchange):
            await work(exchange)

    request = Request(scope, line.receive)
    exchange = Exchange(request, lambda _request: None, placed, lambda _exchange: None)
    task = asyncio.create_task(exchange(scope, line.receive, line.send))
    for _ in range(5):
        await asyncio.sleep(0)
    return line, task


async def wait_for_ever(_exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def stream_for_ever(exchange: Exchange) -> None:
    exchange.generates = True
    await exchange.stream([b'{"n": 1}'])
    await asyncio.Event().wait()


def test_more_requests_than_there_are_places_are_refused_at_once() -> None:
    async def scenario() -> Any:
        admission = Admission(1, wait_seconds=60)
        first, task = await start(admission, wait_for_ever)
        second, refused = await start(admission, wait_for_ever)
        await refused
        first.gone.set()
        await task
        third, again = await start(admission, wait_for_ever)
        third.gone.set()
        await again
        return second, third, admission

    second, third, admission = asyncio.run(scenario())
    assert (second.status, second.code) == (429, "server_busy")
    assert (b"retry-after", b"2") in second.sent[0]["headers"]
    assert third.sent == []  # nobody is left to tell
    assert admission.held == 0


def test_an_answer_that_does_not_begin_in_time_is_an_error() -> None:
    async def scenario() -> Line:
        line, task = await start(Admission(1, wait_seconds=0.01), wait_for_ever)
        await task
        return line

    line = asyncio.run(scenario())
    assert (line.status, line.code) == (503, "server_busy")


def test_a_server_that_stops_ends_what_waits_at_once_and_what_answers_later() -> None:
    async def scenario() -> tuple[Line, Line, bool, Line]:
        admission = Admission(9, wait_seconds=60)
        waiting, waits = await start(admission, wait_for_ever)
        answering, answers = await start(admission, stream_for_ever)
        draining = asyncio.create_task(admission.drain(0.05))
        await waits
        went_on = not answers.done()
        late, refused = await start(admission, wait_for_ever)
        await asyncio.gather(refused, draining, answers)
        return waiting, answering, went_on, late

    waiting, answering, went_on, late = asyncio.run(scenario())
    assert (waiting.status, waiting.code) == (503, "server_stopping")
    assert went_on
    assert (late.status, late.code) == (503, "server_stopping")
    events = answering.body.split(b"\n\n")
    assert json.loads(events[1].removeprefix(b"data: "))["error"]["code"] == "server_stopping"


def test_an_error_of_ours_says_nothing_of_its_cause() -> None:
    async def fail(_exchange: Exchange) -> None:
        raise RuntimeError("a secret")

    async def scenario() -> Line:
        line, task = await start(Admission(1, wait_seconds=60), fail)
        await task
        return line

    line = asyncio.run(scenario())
    assert (line.status, line.code) == (500, "sampling_failed")
    assert b"secret" not in line.body
