"""Adapters are fetched in threads, never in the event loop, whoever evicts them meanwhile."""

import asyncio
import threading
from typing import Any, cast

import pytest

from core.serving.served_model import StoredAdapter
from worker.engine.sampler.adapters.cache import AdapterCache
from worker.engine.sampler.adapters.served import ServedAdapter
from worker.server.sampling import adapters
from worker.server.sampling.adapters import Adapters

STORED = StoredAdapter(sha256="a" * 64, prefix="adapters/", files=())


class EvictedAfterALook(AdapterCache):
    """Another thread evicts what nobody uses, just after a caller has seen it in memory."""

    @property
    def warm(self) -> list[str]:
        found = super().warm
        self._held.clear()
        return found


def test_an_adapter_that_is_evicted_just_after_a_look_at_it_is_not_fetched_in_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(adapters, "AdapterCache", EvictedAfterALook)
    monkeypatch.setattr(adapters, "fetch", lambda *_: None)
    loaded_in: list[str] = []

    def load(_folder: Any, content_hash: str) -> ServedAdapter:
        loaded_in.append(threading.current_thread().name)
        return ServedAdapter(content_hash, nbytes=10)

    async def use_twice() -> None:
        served = Adapters(cast(Any, None), load, byte_budget=100)
        for _ in range(2):
            async with served.use(STORED) as adapter:
                assert adapter is not None
                assert adapter.content_hash == STORED.sha256
        assert served.warm == [STORED.sha256], "and it leaves now"
        async with served.use(STORED):
            pass
        served.close()

    asyncio.run(use_twice())
    assert [name.partition("_")[0] for name in loaded_in] == ["adapter", "adapter"]
