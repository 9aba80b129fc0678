"""The metrics of similarity by themselves. Their values are tested through the API."""

import pytest
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp

from core.graders.similarity import similarity


def test_no_text_is_kept() -> None:
    """sacrebleu's tokenizers would remember 65,536 texts of any length."""
    assert similarity("bleu", "a text of some words", "a text of some words") > 0.99
    for tokenizer in (Tokenizer13a, TokenizerRegexp):
        assert tokenizer.__call__.cache_info().currsize == 0


def test_chrf_is_f2_of_the_n_grams_of_characters() -> None:
    """All n-grams of "thecat" are in "thecatsat", so the precision is 1."""
    recall = sum((7 - n) / (10 - n) for n in range(1, 7)) / 6
    assert similarity("chrf", "the cat", "the cat sat") == pytest.approx(5 * recall / (4 + recall))
    assert similarity("chrf", "", "the cat sat") == 0
