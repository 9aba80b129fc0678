"""Projects take turns at what a server does once at a time: none waits for all that another one has sent."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from core.errors import RateLimited
from worker.server.turns import MOST_REMEMBERED, Turns


async def settle() -> None:
    """Let everybody come to the point at which they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


class Work:
    """Requests of projects that hold their turns until they are told to end."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}

    def begin(self, name: str) -> "asyncio.Task[None]":
        """Begin a request, whose project is the first letter of its name."""
        self.ends[name] = asyncio.Event()
        return asyncio.create_task(self._run(name))

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await settle()

    async def _run(self, name: str) -> None:
        async with self.turns.turn(name[0]):
            self.begun.append(name)
            await self.ends[name].wait()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(60):
            await scenario()

    asyncio.run(bounded())


def test_a_project_waits_for_one_turn_of_another_and_not_for_all_its_requests() -> None:
    async def scenario() -> None:
        work = Work(Turns(at_once=1))
        for name in ("a1", "a2", "a3"):
            work.begin(name)
        await settle()
        work.begin("b1")
        await settle()
        for name in ("a1", "b1", "a2"):
            await work.end(name)
        assert work.begun == ["a1", "b1", "a2", "a3"]

    run(scenario)


def test_a_project_has_one_turn_at_once_though_others_are_free() -> None:
    async def scenario() -> None:
        work = Work(Turns(at_once=2))
        for name in ("a1", "a2", "b1"):
            work.begin(name)
        await settle()
        assert work.begun == ["a1", "b1"]
        await work.end("b1")
        assert work.begun == ["a1", "b1"]
        await work.end("a1")
        assert work.begun == ["a1", "b1", "a2"]

    run(scenario)


def test_who_waits_too_long_and_who_is_one_too_many_hears_when_to_come_back() -> None:
    async def scenario() -> None:
        work = Work(Turns(at_once=1, most_waiting=1, wait_seconds=0.05))
        holder = work.begin("a1")
        await settle()
        waiting, too_many = work.begin("a2"), work.begin("a3")
        for refused, fate in ((too_many, "1 more wait"), (waiting, "has waited for 0.05 s")):
            with pytest.raises(RateLimited, match=fate) as raised:
                await refused
            assert raised.value.status == 429
            assert int(raised.value.headers["retry-after"]) > 0
        await work.end("a1")
        await holder
        work.begin("a4")
        await settle()
        assert work.begun == ["a1", "a4"]

    run(scenario)


def test_who_leaves_while_it_waits_or_works_keeps_no_turn() -> None:
    async def scenario() -> None:
        work = Work(Turns(at_once=1))
        holder = work.begin("a1")
        await settle()
        waiting = work.begin("b1")
        work.begin("c1")
        await settle()
        waiting.cancel()
        holder.cancel()  # the turn passes in the same moment
        await settle()
        assert work.begun == ["a1", "c1"]
        await work.end("c1")
        work.begin("b2")
        await settle()
        assert work.begun == ["a1", "c1", "b2"]

    run(scenario)


def test_what_a_server_remembers_of_projects_is_bounded_also_while_somebody_always_waits() -> None:
    async def scenario() -> None:
        turns = Turns(at_once=1)
        async with turns.turn("holder"):
            waiting = [asyncio.create_task(_take(turns, f"{n}")) for n in range(2 * MOST_REMEMBERED)]
            await settle()
        await waiting[-2]
        assert len(turns._ended) == MOST_REMEMBERED
        await asyncio.gather(*waiting)

    run(scenario)


async def _take(turns: Turns, project: str) -> None:
    async with turns.turn(project):
        pass
