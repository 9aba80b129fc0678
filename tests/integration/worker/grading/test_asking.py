"""How the rows of a run are asked about, by what servers answer: it is written out here, in its order."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session, sessionmaker
from sqlalchemy.sql import func

from cli.embedded import EmbeddedServers
from core.access.projects import create_project
from core.database import create_database, session_factory
from core.errors import JobError
from core.ids import new_id
from core.serving.dispatch.dispatcher import Dispatcher
from core.serving.paths import CHAT, COMPLETIONS
from core.serving.schemas.completions import CompletionRequest
from core.serving.served_model import ServedModel
from core.settings import Settings
from core.tables import Server
from worker.grading.asking import Asking, request_of
from worker.grading.quota import ChatQuota
from worker.grading.row_failed import RowFailed

BASE = "asked"
QUESTION = {"model": BASE, "messages": [{"role": "user", "content": "Why?"}]}
MODEL = ServedModel(base=BASE)
LOSES = None  # the server closes the connection without an answer


@pytest.fixture
def sessions(database_url: str) -> sessionmaker[Session]:
    return session_factory(create_database(database_url, pool_size=2))


@pytest.fixture
def quota(servers: EmbeddedServers, sessions: sessionmaker[Session]) -> Iterator[ChatQuota]:
    """Yield the quota of a new project."""
    with sessions.begin() as session:
        project_id = create_project(session, new_id("p")).id
    quota = ChatQuota(Settings(broker_url=servers.urls["broker_url"]), sessions, project_id, at_once=8)
    yield quota
    quota.close()


def count_nothing(_usage: dict[str, object]) -> None:
    """Do nothing: these servers name no tokens."""


def refusal(status: int, code: str) -> tuple[int, dict[str, object]]:
    return status, {"error": {"message": "Not now.", "type": "server_error", "param": None, "code": code}}


class Answers:
    """Servers that answer in turn what is written here, and then that all is well."""

    def __init__(self, answers: Sequence[tuple[int, dict[str, object]] | None]) -> None:
        self._left = list(answers)
        self.asked = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(int(length.split(b":")[1]))
        self.asked += 1
        answer = self._left.pop(0) if self._left else (200, {"ok": True})
        if answer is not LOSES:
            content = json.dumps(answer[1]).encode()
            writer.write(b"HTTP/1.1 %d x\r\ncontent-length: %d\r\n\r\n" % (answer[0], len(content)) + content)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def asking_of(
    sessions: sessionmaker[Session],
    quota: ChatQuota,
    answers: Answers,
    servers: int = 1,
    wait_seconds: float = 30,
) -> AsyncIterator[Asking]:
    """Yield what asks so many servers, which give these answers."""
    async with await asyncio.start_server(answers, "127.0.0.1", 0) as listening:
        port = listening.sockets[0].getsockname()[1]
        with sessions.begin() as session:
            session.execute(delete(Server))
            for _ in range(servers):
                session.add(_server(port))
        dispatcher = Dispatcher(sessions, "token", 30)
        yield Asking(dispatcher, quota, "proj-1", wait_seconds)
        await dispatcher.close()


def _server(port: int) -> Server:
    return Server(
        id=new_id("server-"),
        address=f"http://127.0.0.1:{port}",
        host="here",
        release="test",
        bases=[BASE],
        adapters=[],
        running=0,
        waiting=0,
        capacity=8,
        draining=False,
        expires_at=func.now() + timedelta(hours=1),
    )


@pytest.mark.parametrize("code", ["unavailable", "upstream_lost", "server_draining"])
def test_a_row_is_asked_again_after_any_503_that_is_not_the_models_fault(
    sessions: sessionmaker[Session], quota: ChatQuota, code: str
) -> None:
    answers = Answers([refusal(503, code)])

    async def ask() -> None:
        async with asking_of(sessions, quota, answers, servers=2) as asking:
            assert await asking.ask(CHAT, MODEL, QUESTION, count_nothing) == {"ok": True}
            assert asking.waits_for is None

    asyncio.run(ask())
    assert answers.asked == 2


def test_a_row_that_brings_down_two_servers_asks_no_third_one(
    sessions: sessionmaker[Session], quota: ChatQuota
) -> None:
    answers = Answers([LOSES] * 9)

    async def ask() -> None:
        async with asking_of(sessions, quota, answers, servers=4) as asking:
            await asking.ask(CHAT, MODEL, QUESTION, count_nothing)

    with pytest.raises(RowFailed, match="2 servers stopped while they worked on this row"):
        asyncio.run(ask())
    assert answers.asked == 2


def test_a_run_fails_when_its_row_has_waited_too_long(
    sessions: sessionmaker[Session], quota: ChatQuota
) -> None:
    answers = Answers([refusal(503, "unavailable")] * 99)

    async def ask() -> None:
        async with asking_of(sessions, quota, answers, wait_seconds=2) as asking:
            await asking.ask(CHAT, MODEL, QUESTION, count_nothing)

    with pytest.raises(JobError, match=r"answered for 2 seconds\. Not now\."):
        asyncio.run(ask())
    assert answers.asked > 1


def test_a_row_is_sent_where_a_chat_that_begins_alike_is_sent() -> None:
    assert request_of(CHAT, QUESTION).beginning == "Why?"
    tokens = {"model": BASE, "prompt": [1, 2, 3], "max_tokens": 0, "echo": True, "prompt_logprobs": 1}
    expected = CompletionRequest.model_validate({"model": BASE, "prompt": [1, 2, 3]}).beginning
    assert request_of(COMPLETIONS, tokens).beginning == expected


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        (CHAT, {**QUESTION, "n": 0}, "Invalid value for 'n'"),
        (CHAT, {**QUESTION, "tool_choice": "required"}, "'tool_choice' needs 'tools'."),
        (COMPLETIONS, {"model": BASE, "prompt": "a", "max_tokens": 0}, "'max_tokens' may only be 0"),
    ],
)
def test_a_row_that_the_api_would_refuse_fails_before_a_server_is_asked(
    sessions: sessionmaker[Session], quota: ChatQuota, path: str, body: dict[str, object], told: str
) -> None:
    answers = Answers([])

    async def ask() -> None:
        async with asking_of(sessions, quota, answers) as asking:
            await asking.ask(path, MODEL, body, count_nothing)

    with pytest.raises(RowFailed, match=told) as failed:
        asyncio.run(ask())
    assert (failed.value.code, answers.asked) == ("invalid_value", 0)
