"""Nothing of a server keeps a base model in memory once it has been given back."""

import asyncio
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import torch

from core.catalog import SMOLLM2, BaseModelEntry
from core.serving.schemas.tokens import TokenizeRequest
from core.serving.served_model import ServedModel
from core.settings import Settings
from tests.fixtures.models import tiny
from worker.device.time_slices import TimeSlices
from worker.rendering.renderer import Renderer
from worker.server.answering.answering import SamplerAnswering
from worker.server.sampling.models import TAKEN, Models

SETTINGS = Settings(s3_endpoint_url="http://127.0.0.1:9", s3_bucket="none")
SECONDS = 120
MODEL = ServedModel(base=SMOLLM2.id)


class NoAdapters:
    @asynccontextmanager
    async def use(self, _stored: Any) -> AsyncIterator[None]:
        yield None


class Prompts:
    """Makes prompts at once, in this process."""

    async def make(self, _exchange: Any, call: Callable[[Any], Any]) -> Any:
        return call(tiny.text())


class Loaded:
    """A base model in name only, with prompts."""

    entry, id, device, max_length = SMOLLM2, SMOLLM2.id, torch.device("cpu"), 64

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.sampler = SimpleNamespace(end_all=self.ended.append)
        self.adapters = NoAdapters()
        self.prompting = Prompts()

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


class ModelsInName(Models):
    """Loads a base model in name only, and lets the test ask it back as the trainer does."""

    async def _load(self, _entry: BaseModelEntry) -> Any:
        return Loaded()

    def ask_back(self) -> None:
        self._asked_back()


def test_an_idle_base_model_that_is_asked_back_has_left_the_memory_when_it_is_given_back() -> None:
    async def given_back() -> list[bool]:
        lent = Lent()
        served = ModelsInName(SETTINGS, cast(Any, lent), Renderer)
        async with served.use(MODEL) as (base, _):
            lent.model = weakref.ref(base)
            del base
        served.ask_back()
        await asyncio.wait_for(lent.given_back.wait(), SECONDS)
        return lent.gone_when_given_back

    assert asyncio.run(given_back()) == [True]


def test_answers_on_a_base_model_that_is_asked_back_are_ended_after_some_time() -> None:
    async def told() -> list[str]:
        served = ModelsInName(SETTINGS, cast(Any, Lent()), Renderer, answer_seconds=0.01)
        async with served.use(MODEL) as (base, _), asyncio.timeout(SECONDS):
            ended = cast(Any, base).ended
            served.ask_back()
            while not ended:
                await asyncio.sleep(0.01)
        return list(ended)

    assert asyncio.run(told()) == [TAKEN]


def test_a_client_that_reads_its_tokens_slowly_keeps_no_base_model_in_memory() -> None:
    class Exchange:
        """A client that takes its answer once the base model has been given back."""

        def __init__(self, models: ModelsInName, lent: Lent) -> None:
            self.models, self.lent = models, lent
            self.facts: dict[str, Any] = {}

        async def answer(self, status: int, _body: bytes) -> None:
            assert status == 200
            self.models.ask_back()
            await asyncio.wait_for(self.lent.given_back.wait(), SECONDS)

    async def given_back() -> list[bool]:
        lent = Lent()
        answering = SamplerAnswering(SETTINGS, cast(Any, lent), Renderer)
        answering.models = models = ModelsInName(SETTINGS, cast(Any, lent), Renderer)
        async with models.use(MODEL) as (base, _):
            lent.model = weakref.ref(base)
            del base
        exchange = cast(Any, Exchange(models, lent))
        request = TokenizeRequest(model="m", prompt="Hello")
        await answering.tokenize(exchange, request, {"base": SMOLLM2.id})
        return lent.gone_when_given_back

    assert asyncio.run(given_back()) == [True]
