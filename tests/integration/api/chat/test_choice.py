"""Which server a chat goes to: one that has its beginning in the cache, unless others have less to do."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.orm import Session, sessionmaker

from core.serving import registry
from core.serving.dispatch.servers import CACHED_BEGINNING, Servers
from core.serving.served_model import ServedModel
from core.tables import Server
from tests.fixtures.models.tiny import TINY
from tests.fixtures.service.api import Api

MODEL = ServedModel(base=TINY)
BEGINNINGS = [f"You are number {number}." for number in range(60)]


@pytest.fixture
def sessions(api: Api) -> Iterator[sessionmaker[Session]]:
    yield api.sessions
    with api.sessions.begin() as session:
        session.execute(delete(Server))


def start(sessions: sessionmaker[Session], *names: str, **changes: Any) -> None:
    """Write the rows of idle servers that have the base model loaded."""
    known = {"host": "", "release": "", "address": "", "bases": [TINY]}
    state = {"resident": TINY, "adapters": [], "running": 0, "waiting": 0, "capacity": 8, "draining": False}
    with sessions.begin() as session:
        for name in names:
            registry.report(session, {**known, "id": name}, {**state, **changes})


def chosen(api: Api, beginnings: list[str], without: tuple[str, ...] = ()) -> dict[str, str]:
    """Return the server for each beginning, as an API process that has just started chooses it."""
    servers = Servers(api.app.state.reading_sessions)

    async def choose(beginning: str) -> str:
        server = await servers.choose(MODEL, beginning, without)
        assert server is not None
        return server.id

    async def choose_all() -> dict[str, str]:
        return {beginning: await choose(beginning) for beginning in beginnings}

    return asyncio.run(choose_all())


def test_equal_beginnings_go_to_one_server_and_different_ones_to_all(
    api: Api, sessions: sessionmaker[Session]
) -> None:
    start(sessions, "a", "b", "c")
    first = chosen(api, BEGINNINGS)
    assert chosen(api, BEGINNINGS) == first
    assert min(list(first.values()).count(name) for name in "abc") > len(BEGINNINGS) / 10


def test_a_server_that_leaves_moves_only_its_own_beginnings(
    api: Api, sessions: sessionmaker[Session]
) -> None:
    start(sessions, "a", "b", "c")
    first = chosen(api, BEGINNINGS)
    moved = chosen(api, BEGINNINGS, without=("c",))
    assert all(moved[beginning] == server for beginning, server in first.items() if server != "c")


def test_a_beginning_leaves_its_server_when_that_has_much_more_to_do(
    api: Api, sessions: sessionmaker[Session]
) -> None:
    start(sessions, "a", "b")
    usual = chosen(api, BEGINNINGS)
    start(sessions, "a", running=CACHED_BEGINNING - 1)
    assert chosen(api, BEGINNINGS) == usual
    start(sessions, "a", running=CACHED_BEGINNING + 1)
    assert set(chosen(api, BEGINNINGS).values()) == {"b"}


def test_each_answer_that_a_server_has_yet_to_write_counts_as_its_work(
    api: Api, sessions: sessionmaker[Session]
) -> None:
    """The table does not show them yet: requests of the same moment share one reading of it."""
    start(sessions, "a", "b")
    servers = Servers(api.app.state.reading_sessions)

    async def choose_twice() -> set[str]:
        usual = await servers.choose(MODEL, BEGINNINGS[0])
        assert usual is not None
        with servers.at_work(usual, answers=CACHED_BEGINNING + 1):
            other = await servers.choose(MODEL, BEGINNINGS[0])
        assert other is not None
        return {usual.id, other.id}

    assert asyncio.run(choose_twice()) == {"a", "b"}
