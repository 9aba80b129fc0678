"""The metrics of similarity by themselves. Their values are tested through the API."""

from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp

from core.graders.similarity import similarity


def test_no_text_is_kept() -> None:
    """sacrebleu's tokenizers would remember 65,536 texts of any length."""
    assert similarity("bleu", "a text of some words", "a text of some words") > 0.99
    for tokenizer in (Tokenizer13a, TokenizerRegexp):
        assert tokenizer.__call__.cache_info().currsize == 0
