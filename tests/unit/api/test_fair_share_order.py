"""Which requests of a project are at work together: alone, beside others, and on marked routes."""

import asyncio
from typing import Any

import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from api.admission.bodies import STREAMED, WITH_IMAGES
from api.admission.callers import Caller
from api.admission.cookies import SIGN_IN_PATH
from api.admission.fair_share import (
    AT_ONCE,
    NO_PERMIT,
    POLL,
    POLLS_AT_ONCE,
    SHARED_FOR,
    FairShare,
    poll,
    takes_no_permit,
)
from api.admission.marks import marks_of
from api.admission.strangers import REST_SECONDS, SIGN_INS_AT_ONCE, Strangers
from api.app import ROUTERS

DEADLINE = 120
PATIENT = 3600.0  # seconds: no read of the test counts as one that waits for something
MARKED = APIRouter(prefix="/v1/things")


@MARKED.get("/{thing_id}")
@poll
def poll_a_thing(thing_id: str) -> None:
    """A route that is marked as a poll."""


@MARKED.get("/{thing_id}/parts/{part_id}")
@poll
def poll_a_part(thing_id: str, part_id: str) -> None:
    """A second poll, whose path has a part of the same name."""


@MARKED.post("/{thing_id}/bytes")
@takes_no_permit
def send_bytes(thing_id: str) -> None:
    """A route that is marked to take no turn."""


class Work:
    """An API whose requests answer when a test tells them to."""

    def __init__(self, rest_seconds: float = REST_SECONDS, **seconds: float) -> None:
        self.begun = 0
        self.answers: list[asyncio.Event] = []
        self._fair_share = FairShare(self, MARKED.routes, Strangers(rest_seconds=rest_seconds), **seconds)
        self._asked: set[asyncio.Task[None]] = set()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        answer = self.answers[self.begun]
        self.begun += 1
        await answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def ask(
        self,
        project: str | None,
        method: str = "GET",
        path: str = "/v1/things",
        *,
        key: str | None = None,
    ) -> None:
        """Send one more request, which waits for its turn. Without a project, it is a stranger's."""
        state = {} if project is None else {"caller": Caller(project, key)}
        scope = {"type": "http", "method": method, "path": path, "headers": [], "state": state}
        self.answers.append(asyncio.Event())
        self._asked.add(asyncio.create_task(self._fair_share(scope, nothing, ignore)))

    async def begin(self, number: int) -> None:
        """Wait until `number` requests have begun."""

        async def reached() -> None:
            while self.begun < number:
                await asyncio.sleep(0.001)

        await asyncio.wait_for(reached(), DEADLINE)

    async def settle(self) -> int:
        """Return how many requests have begun, once none can begin without an answer or a timer."""
        for _ in range(20):
            await asyncio.sleep(0)
        return self.begun

    async def end(self) -> None:
        for answer in self.answers:
            answer.set()
        await asyncio.wait_for(asyncio.gather(*self._asked), DEADLINE)


async def nothing() -> Any:
    raise AssertionError("no body is read")


async def ignore(_message: Any) -> None:
    pass


def test_beside_others_the_reads_of_a_project_follow_one_another() -> None:
    async def flood() -> None:
        work = Work(reads_alone=PATIENT)
        work.ask("other")
        await work.begin(1)
        for _ in range(3):
            work.ask("flood")
        assert await work.settle() == 2
        work.ask("third")
        await work.begin(3)
        work.answers[1].set()
        await work.begin(4)
        assert await work.settle() == 4
        await work.end()

    asyncio.run(flood())


def test_writes_and_a_project_that_asks_alone_have_all_turns() -> None:
    async def ask(*requests: tuple[str, str], shared_for: float = SHARED_FOR) -> int:
        work = Work(reads_alone=PATIENT, shared_for=shared_for)
        for request in requests:
            work.ask(*request)
        begun = await work.settle()
        await work.end()
        return begun

    reads, writes = [("alone", "GET")] * (AT_ONCE + 1), [("alone", "POST")] * (AT_ONCE + 1)
    other = "other", "GET"
    assert asyncio.run(ask(*reads)) == AT_ONCE
    assert asyncio.run(ask(other, *writes)) == 1 + AT_ONCE
    assert asyncio.run(ask(other, *reads)) == 1 + 1
    assert asyncio.run(ask(other, *reads, shared_for=0.0)) == 1 + AT_ONCE


def test_a_read_that_takes_long_holds_up_no_other_read() -> None:
    async def ask() -> int:
        work = Work(reads_alone=0.001)
        work.ask("other")
        for _ in range(AT_ONCE + 1):
            work.ask("slow")
        await work.begin(1 + AT_ONCE)
        begun = await work.settle()
        await work.end()
        return begun - 1

    assert asyncio.run(ask()) == AT_ONCE


@pytest.mark.parametrize(
    ("path", "at_once"),
    [
        ("/v1/things/a", POLLS_AT_ONCE),
        ("/v1/things/a/parts/b", POLLS_AT_ONCE),
        ("/v1/things", AT_ONCE),
        ("/v1/things/a/parts", AT_ONCE),
        ("/v1/things/a/parts/b/c", AT_ONCE),
    ],
)
def test_only_a_marked_poll_has_the_room_of_polls(path: str, at_once: int) -> None:
    async def ask() -> int:
        work = Work()
        for _ in range(POLLS_AT_ONCE + 1):
            work.ask("key", "GET", path)
        begun = await work.settle()
        await work.end()
        return begun

    assert asyncio.run(ask()) == at_once


def test_a_route_that_takes_no_permit_begins_at_once_and_leaves_all_permits() -> None:
    async def ask() -> list[int]:
        work, begun = Work(), []
        for method, path in (("POST", "/v1/things/a/bytes"), ("DELETE", "/v1/things/a/bytes")):
            for _ in range(AT_ONCE + 1):
                work.ask("key", method, path)
            begun.append(await work.settle())
        await work.end()
        return begun

    assert asyncio.run(ask()) == [AT_ONCE + 1, AT_ONCE + 1 + AT_ONCE]


def test_all_keys_of_a_project_share_its_turns() -> None:
    async def ask() -> int:
        work = Work()
        for number in range(AT_ONCE + 1):
            work.ask("project", "POST", key=f"key {number}")
        begun = await work.settle()
        await work.end()
        return begun

    assert asyncio.run(ask()) == AT_ONCE


def test_sign_ins_share_the_turns_of_strangers_and_take_none_of_a_project() -> None:
    async def ask() -> tuple[int, int]:
        work = Work()
        for _ in range(SIGN_INS_AT_ONCE + 1):
            work.ask(None, "POST", SIGN_IN_PATH)
        of_strangers = await work.settle()
        work.ask("project", "POST")
        begun = await work.settle()
        await work.end()
        return of_strangers, begun - of_strangers

    assert asyncio.run(ask()) == (SIGN_INS_AT_ONCE, 1)


def test_nobody_gets_a_strangers_permit_for_a_moment_after_its_request() -> None:
    async def ask() -> int:
        work = Work(rest_seconds=0.5)
        for _ in range(SIGN_INS_AT_ONCE + 1):
            work.ask(None, "POST", SIGN_IN_PATH)
        await work.begin(SIGN_INS_AT_ONCE)
        work.answers[0].set()
        begun = await work.settle()
        await work.begin(SIGN_INS_AT_ONCE + 1)
        await work.end()
        return begun

    assert asyncio.run(ask()) == SIGN_INS_AT_ONCE


def test_the_api_marks_the_poll_of_a_job_the_uploads_and_what_has_images() -> None:
    routes = [route for router in ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    marks = {route.path: marks for route in routes if (marks := marks_of(route.endpoint))}
    assert marks == {
        "/v1/fine_tuning/jobs/{fine_tuning_job_id}": {POLL},
        "/v1/files": {NO_PERMIT, STREAMED},
        "/v1/files/from_completions": {NO_PERMIT},
        "/v1/uploads/{upload_id}/parts": {NO_PERMIT, STREAMED},
        "/v1/uploads/{upload_id}/complete": {NO_PERMIT},
        "/v1/chat/completions": {WITH_IMAGES},
        "/v1/completions": {WITH_IMAGES},
        "/v1/tokenize": {WITH_IMAGES},
    }
