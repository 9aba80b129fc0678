"""Nothing of a server keeps a base model in memory once it has been given back."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from core.catalog import SMOLLM2
from core.settings import Settings
from tests.fixtures.models import tiny
from worker.device.time_slices import TimeSlices
from worker.process import stop_times
from worker.server.answering.answering import SamplerAnswering
from worker.server.sampling import models
from worker.server.sampling.models import TAKEN, Models

SETTINGS = Settings(s3_endpoint_url="http://127.0.0.1:9", s3_bucket="none")
SECONDS = 120


class NoAdapters:
    @asynccontextmanager
    async def use(self, _stored: Any) -> AsyncIterator[None]:
        yield None


class Loaded:
    """A base model in name only, with a tokenizer."""

    entry, id, device, max_length = SMOLLM2, SMOLLM2.id, torch.device("cpu"), 64

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.sampler = SimpleNamespace(end_all=self.ended.append)
        self.adapters = NoAdapters()
        self.tokenizer = tiny.text()

    async def render(self, work: Callable[[], Any]) -> Any:
        return work()

    async def release(self) -> None:
        pass


class Lent:
    """The trainer's side: whether the base model had left the memory when it was given back."""

    def __init__(self) -> None:
        self.slices = TimeSlices()
        self.model: Callable[[], Any] = lambda: None
        self.gone_when_given_back: list[bool] = []
        self.given_back = asyncio.Event()

    def give_back(self) -> None:
        self.gone_when_given_back.append(self.model() is None)
        self.given_back.set()


@pytest.fixture(autouse=True)
def loads_in_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async def load(*_: Any) -> Loaded:
        return Loaded()

    monkeypatch.setattr(Models, "_load", load)
    monkeypatch.setattr(models, "remove_abandoned", lambda: None)


def test_an_idle_base_model_that_is_asked_back_has_left_the_memory_when_it_is_given_back() -> None:
    async def given_back() -> list[bool]:
        lent = Lent()
        served = Models(SETTINGS, cast(Any, lent))
        async with served._holder.use(SMOLLM2) as base:
            lent.model = weakref.ref(base)
            del base
        served._asked_back()
        await asyncio.wait_for(lent.given_back.wait(), SECONDS)
        return lent.gone_when_given_back

    assert asyncio.run(given_back()) == [True]


def test_answers_on_a_base_model_that_is_asked_back_are_ended_after_some_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stop_times, "STREAMS", 0.01)

    async def told() -> list[str]:
        served = Models(SETTINGS, cast(Any, Lent()))
        async with served._holder.use(SMOLLM2) as base, asyncio.timeout(SECONDS):
            ended = cast(Any, base).ended
            served._asked_back()
            while not ended:
                await asyncio.sleep(0.01)
        return list(ended)

    assert asyncio.run(told()) == [TAKEN]


def test_a_client_that_reads_its_tokens_slowly_keeps_no_base_model_in_memory() -> None:
    class Exchange:
        """A client that takes its answer once the base model has been given back."""

        def __init__(self, answering: SamplerAnswering, lent: Lent) -> None:
            self.answering, self.lent = answering, lent
            self.facts: dict[str, Any] = {}

        async def answer(self, status: int, _body: bytes) -> None:
            assert status == 200
            self.answering.models._asked_back()
            await asyncio.wait_for(self.lent.given_back.wait(), SECONDS)

    async def given_back() -> list[bool]:
        lent = Lent()
        answering = SamplerAnswering(SETTINGS, cast(Any, lent))
        async with answering.models._holder.use(SMOLLM2) as base:
            lent.model = weakref.ref(base)
            del base
        exchange = cast(Any, Exchange(answering, lent))
        await answering.tokenize(exchange, {"model": "m", "prompt": "Hello"}, {"base": SMOLLM2.id})
        return lent.gone_when_given_back

    assert asyncio.run(given_back()) == [True]
