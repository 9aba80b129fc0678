"""Permits of chats are counted over all API processes. Those of a process that has died end by themselves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest

from cli.embedded import EmbeddedServers
from core.access.rates import Counters
from core.serving.shared_permits import LOOK, SharedPermits

SOON = 30.0
MOMENT = 0.5

Act = Callable[[SharedPermits, SharedPermits, str], Awaitable[None]]
Run = Callable[..., None]


@pytest.fixture
def run(servers: EmbeddedServers) -> Run:
    """Return what runs a function with the permits of two processes, and the id of a project."""

    def in_two_processes(act: Act, **times: float) -> None:
        async def both() -> None:
            counters = [Counters(servers.urls["broker_url"]) for _ in range(2)]
            first, second = (SharedPermits(each, **times) for each in counters)
            try:
                await act(first, second, uuid4().hex)
            finally:
                first.close()
                second.close()

        asyncio.run(both())

    return in_two_processes


async def refused(permits: SharedPermits, project: str, most: int = 1, seconds: float = MOMENT) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(permits.take(project, most), seconds)


def test_two_processes_have_the_turns_of_a_project_together(run: Run) -> None:
    async def act(first: SharedPermits, second: SharedPermits, project: str) -> None:
        permit = await first.take(project, 2)
        await second.take(project, 2)
        await refused(first, project, 2)
        await refused(second, project, 2)
        await asyncio.wait_for(second.take(f"other {project}", 1), SOON)
        first.give_back(project, permit)
        await asyncio.wait_for(second.take(project, 2), SOON)

    run(act)


def test_a_chat_with_several_answers_gets_all_of_its_permits_or_none(
    run: Run, servers: EmbeddedServers
) -> None:
    async def act(first: SharedPermits, second: SharedPermits, project: str) -> None:
        three = await first.take(project, 4, 3)
        several = asyncio.create_task(second.take(project, 4, 2))
        await arrives(servers, project)
        await refused(first, project, 4)  # behind the one that came before it
        several.cancel()
        await asyncio.wait_for(first.take(project, 4), SOON)
        await refused(second, project, 4)
        first.give_back(project, three)
        await asyncio.wait_for(second.take(project, 4, 3), SOON)
        await refused(first, project, 4)

    run(act, patience=SOON)


def test_a_wait_that_is_given_up_takes_no_permit(run: Run) -> None:
    async def act(first: SharedPermits, second: SharedPermits, project: str) -> None:
        for _ in range(20):
            waiting = asyncio.create_task(first.take(project, 1))
            await asyncio.sleep(0)
            waiting.cancel()
        await asyncio.wait_for(second.take(project, 1), SOON)

    run(act)


async def arrives(servers: EmbeddedServers, project: str) -> None:
    """Wait until a process waits for a permit."""
    redis: Any = Counters(servers.urls["broker_url"]).storage.storage
    while not redis.zcard(f"tunery-chats:{{{project}}}:arrived"):
        await asyncio.sleep(LOOK)


def test_processes_get_turns_in_the_order_in_which_they_came(run: Run, servers: EmbeddedServers) -> None:
    async def act(first: SharedPermits, second: SharedPermits, project: str) -> None:
        permit = await first.take(project, 1)
        waiting = asyncio.create_task(second.take(project, 1))
        await arrives(servers, project)
        first.give_back(project, permit)
        again = asyncio.create_task(first.take(project, 1))
        second.give_back(project, await asyncio.wait_for(waiting, SOON))
        await asyncio.wait_for(again, SOON)

    run(act, patience=SOON)


def test_one_that_waited_in_a_process_that_died_holds_up_nobody(run: Run, servers: EmbeddedServers) -> None:
    async def act(first: SharedPermits, second: SharedPermits, project: str) -> None:
        permit = await first.take(project, 1)
        waiting = asyncio.create_task(second.take(project, 1))
        await arrives(servers, project)
        second.close()  # the process dies
        waiting.cancel()
        first.give_back(project, permit)
        await asyncio.wait_for(first.take(project, 1), SOON)

    run(act)


@pytest.mark.exhaustive
def test_a_turn_lasts_while_its_process_lives_and_no_longer(run: Run) -> None:
    async def act(first: SharedPermits, second: SharedPermits, project: str) -> None:
        await first.take(project, 1)
        await refused(second, project, seconds=5.5)
        first.close()  # the process dies without giving back its permit
        await asyncio.wait_for(second.take(project, 1), SOON)

    run(act, lasts=4, renew=0.3)


def test_without_the_broker_each_process_counts_for_itself() -> None:
    async def act() -> None:
        permits = SharedPermits(Counters("redis://127.0.0.1:9"))
        for _ in range(3):
            permits.give_back("project", await asyncio.wait_for(permits.take("project", 1), SOON))
        permits.close()

    asyncio.run(act())
