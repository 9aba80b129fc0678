"""The text of a growing answer, token by token."""

from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from worker.engine.sampler.texts import GrowingText

WORDS = ["<0x0A>", "<0xE2>", "<0x82>", "<0xAC>", "a", "b"]


def add(text: GrowingText, *words: str) -> list[str]:
    return [text.add(WORDS.index(word), may_stop=True)[0] for word in words]


def text_of_bytes(*stop: str) -> GrowingText:
    """Return a text whose tokenizer has a token for each byte, as Llama 2, Mistral and Gemma do."""
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, "a"))
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    return GrowingText(PreTrainedTokenizerFast(tokenizer_object=tokenizer), stop)


def test_a_character_of_several_bytes_comes_with_its_last_one() -> None:
    assert add(text_of_bytes(), "<0x0A>", "<0xE2>", "<0x82>", "<0xAC>", "a") == ["\n", "", "", "€", "a"]


def test_a_stray_byte_changes_nothing_that_is_already_out() -> None:
    text = text_of_bytes()
    assert add(text, "<0x0A>", "<0xE2>", "a", "b") == ["\n", "", "\ufffda", "b"]
    assert add(text, "<0xE2>", "<0x82>", "<0xAC>", "<0xAC>", "b") == ["", "", "€", "", "\ufffdb"]
    assert add(text, "<0xE2>") == [""]
    assert text.rest() == "\ufffd"


def test_a_stop_string_behind_a_stray_byte_ends_the_text() -> None:
    text = text_of_bytes("ab")
    assert add(text, "<0x0A>", "<0xE2>", "a") == ["\n", "", "\ufffd"]
    assert text.add(WORDS.index("b"), may_stop=True) == ("", "ab")
