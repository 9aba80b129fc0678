"""A text is refused by its bytes only if no tokens could be few enough for it."""

import sys
import unicodedata
from typing import Any

import pytest
from tokenizers import AddedToken, normalizers
from transformers import AutoTokenizer

from core.catalog import SMOLLM2
from core.errors import InvalidRequest
from core.settings import Settings
from tests.fixtures.models import tiny
from worker.base_models.model_store import ensure_tokenizer
from worker.server.answering.longest_token import NORMALISED, longest_token, refuse_by_bytes

LONGEST = len("<|im_start|>")


@pytest.fixture(scope="module")
def smollm() -> Any:
    return AutoTokenizer.from_pretrained(ensure_tokenizer(SMOLLM2, Settings().models_folder))


def test_a_text_that_fits_is_not_refused_however_long_its_tokens_are(smollm: Any) -> None:
    texts = (smollm.decode([token]) for token in range(len(smollm)))
    text = max(texts, key=lambda text: len(text.encode())) * 50
    assert len(smollm(text)["input_ids"]) <= 50
    refuse_by_bytes(smollm, text, 50, "prompt")


def test_a_text_that_cannot_fit_is_refused_before_it_is_tokenized() -> None:
    tokenizer = tiny.text()
    refuse_by_bytes(tokenizer, "x" * 10 * LONGEST, 10, "prompt")
    with pytest.raises(InvalidRequest, match="10 tokens") as refused:
        refuse_by_bytes(tokenizer, "x" * (10 * LONGEST + 1), 10, "prompt")
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
