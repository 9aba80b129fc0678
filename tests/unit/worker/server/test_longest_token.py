"""A text is refused by its bytes only if no tokens could be few enough for it."""

import asyncio
import sys
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tokenizers import AddedToken, normalizers
from transformers import AutoTokenizer

from core.catalog import SMOLLM2
from core.errors import InvalidRequest
from core.serving.schemas.completions import CompletionRequest
from core.settings import Settings
from tests.fixtures.models import tiny
from worker.base_models.model_store import ensure_tokenizer
from worker.rendering.renderer import Renderer
from worker.server.answering.answering import SamplerAnswering
from worker.server.sampling.longest_token import NORMALISED, Room, longest_token

LONGEST = len("<|im_start|>")


@pytest.fixture(scope="module")
def smollm() -> Any:
    return AutoTokenizer.from_pretrained(ensure_tokenizer(SMOLLM2, Settings().models_folder))


def test_a_text_that_fits_is_not_refused_however_long_its_tokens_are(smollm: Any) -> None:
    texts = (smollm.decode([token]) for token in range(len(smollm)))
    text = max(texts, key=lambda text: len(text.encode())) * 50
    assert len(smollm(text)["input_ids"]) <= 50
    Room(50, longest_token(smollm)).refuse_by_bytes(text, "prompt")


def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenized() -> None:
    room = Room(10, longest_token(tiny.text()))
    room.refuse_by_bytes("x" * 10 * LONGEST, "prompt")
    with pytest.raises(InvalidRequest, match="10 tokens") as refused:
        room.refuse_by_bytes("x" * (10 * LONGEST + 1), "prompt")
    assert (refused.value.code, refused.value.param) == ("context_length_exceeded", "prompt")


def test_a_tokenizer_that_may_drop_bytes_refuses_no_text_by_them() -> None:
    assert longest_token(tiny.text()) == LONGEST
    assert longest_token(tiny.numbers()) is None
    strips = tiny.text()
    strips.add_special_tokens({"additional_special_tokens": [AddedToken("<|mask|>", lstrip=True)]})
    assert longest_token(strips) is None
    lowers = tiny.text()
    lowers.backend_tokenizer.normalizer = normalizers.NFKC()
    assert longest_token(lowers) is None


def test_normalisation_makes_at_most_a_third_of_a_texts_bytes() -> None:
    def shrinks(text: str) -> float:
        return len(text.encode()) / max(1, len(unicodedata.normalize("NFC", text).encode()))

    every = [chr(point) for point in range(sys.maxunicode + 1) if not 0xD800 <= point < 0xE000]
    assert max(map(shrinks, every)) <= NORMALISED["NFC"]
    assert max(shrinks(unicodedata.normalize("NFD", each)) for each in every) <= NORMALISED["NFC"]
    composed = tiny.text()
    composed.backend_tokenizer.normalizer = normalizers.NFC()
    assert longest_token(composed) == 3 * LONGEST


def test_the_texts_of_a_completion_are_refused_before_their_project_waits_for_a_turn() -> None:
    class Loaded:
        """A base model in name only, which makes no prompts."""

        room = Room(10, LONGEST)

    class Models:
        @asynccontextmanager
        async def use(self, _model: object) -> AsyncIterator[tuple[Loaded, None]]:
            yield Loaded(), None

    settings = Settings(s3_endpoint_url="http://127.0.0.1:9", s3_bucket="none")

    async def complete() -> None:
        answering = SamplerAnswering(settings, None, Renderer)
        answering.models = cast(Any, Models())
        request = CompletionRequest(model="m", prompt=["short", "x" * (10 * LONGEST + 1)])
        await answering.complete(cast(Any, SimpleNamespace(facts={})), request, {"base": SMOLLM2.id})

    with pytest.raises(InvalidRequest) as refused:
        asyncio.run(complete())
    assert refused.value.code == "context_length_exceeded"
