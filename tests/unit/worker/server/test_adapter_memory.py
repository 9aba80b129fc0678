"""Adapters that are in use never take more memory than they may."""

import asyncio

import pytest

from core.serving.served_model import StoredAdapter, StoredFile
from worker.server.errors import ModelUnavailable
from worker.server.sampling.adapter_memory import Room


def adapter(name: str, size: int) -> StoredAdapter:
    sha256 = name * 64
    return StoredAdapter(sha256=sha256, prefix="", files=(StoredFile(name=name, bytes=size, sha256=sha256),))


async def all_stand_still() -> None:
    """Let every task go as far as it can. A timer might pass first on a busy machine."""
    for _ in range(100):
        await asyncio.sleep(0)


def test_an_adapter_waits_for_room_and_one_in_use_needs_no_more() -> None:
    async def scenario() -> list[str]:
        room, entered = Room(10), list[str]()
        let_go = {name: asyncio.Event() for name in "ab"}

        async def use(name: str, size: int) -> None:
            async with room.taken(adapter(name, size)):
                entered.append(name)
                await let_go[name].wait()

        tasks = [asyncio.create_task(use(*each)) for each in [("a", 6), ("b", 6), ("a", 6)]]
        await all_stand_still()
        assert entered == ["a", "a"]
        let_go["a"].set()
        await all_stand_still()
        let_go["b"].set()
        await asyncio.gather(*tasks)
        async with room.taken(adapter("c", 10)):
            return entered

    assert asyncio.run(scenario()) == ["a", "a", "b"]


def test_an_adapter_that_can_never_fit_is_refused() -> None:
    async def scenario() -> None:
        async with Room(10).taken(adapter("a", 11)):
            pass

    with pytest.raises(ModelUnavailable, match="TUNERY_SERVE_ADAPTER_BYTES"):
        asyncio.run(scenario())
