"""Which requests of a key are at work together, where it asks alone and where others ask too."""

import asyncio
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from api.http import fair_share
from api.http.fair_share import AT_ONCE, FairShare

DEADLINE = 10


class Work:
    """An API whose requests answer when they are told to."""

    def __init__(self) -> None:
        self.begun = 0
        self.answers: list[asyncio.Event] = []
        self._fair_share = FairShare(self)
        self._asked: set[asyncio.Task[None]] = set()

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        answer = self.answers[self.begun]
        self.begun += 1
        await answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    def ask(self, key: str, method: str = "GET") -> None:
        """A request more, which waits for its turn."""
        headers = [(b"authorization", key.encode())]
        scope = {"type": "http", "method": method, "path": "/v1/fine_tuning/jobs", "headers": headers}
        self.answers.append(asyncio.Event())
        self._asked.add(asyncio.create_task(self._fair_share(scope, nothing, ignore)))

    async def begin(self, number: int) -> None:
        """Wait until so many have begun."""

        async def reached() -> None:
            while self.begun < number:
                await asyncio.sleep(0.001)

        await asyncio.wait_for(reached(), DEADLINE)

    async def settle(self) -> int:
        """How many have begun once nothing moves any more, of what does not wait for time."""
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


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No read of the test is taken for one that waits."""
    monkeypatch.setattr(fair_share, "READS_ALONE", 3600.0)


@pytest.mark.usefixtures("patient")
def test_beside_others_the_reads_of_a_key_follow_one_another() -> None:
    async def flood() -> None:
        work = Work()
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


@pytest.mark.usefixtures("patient")
def test_writes_and_a_key_that_asks_alone_have_all_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    async def ask(*requests: tuple[str, str]) -> int:
        work = Work()
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
    monkeypatch.setattr(fair_share, "SHARED_FOR", 0.0)
    assert asyncio.run(ask(other, *reads)) == 1 + AT_ONCE


def test_a_read_that_takes_long_holds_up_no_other_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_share, "READS_ALONE", 0.001)

    async def ask() -> int:
        work = Work()
        work.ask("other")
        for _ in range(AT_ONCE + 1):
            work.ask("slow")
        await work.begin(1 + AT_ONCE)
        begun = await work.settle()
        await work.end()
        return begun - 1

    assert asyncio.run(ask()) == AT_ONCE
