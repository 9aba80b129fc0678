"""Tokenizers in GGUF files: llama.cpp parts texts as transformers does."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from core.errors import JobError
from tests.fixtures.models.random_adapters import ENTRY, VOCABULARY, save_base, small_llama
from tests.fixtures.outside.llamacpp import llama_cpp
from tests.unit.worker.tasks.export.test_gguf import write_base_as_gguf
from worker.tasks.export.gguf_files.tokens import SPLITS
from worker.tasks.export.source import Source

TEXT = "Don't panic: HTTPServer and camelCase took 12345 ms,\r\n\n  /path x=1 \t end"
WITH_MARKS = f"{TEXT} नमस्ते दुनिया"
PARTS_OF_WORDS = ("gpt-4o", "tekken")
"""The splits in which llama.cpp takes no marks for letters"""
ENDS = ["<|im_start|>", "<|im_end|>"]


def of_bytes(pattern: str, text: str = TEXT) -> Tokenizer:
    """Return a tokenizer that has learnt the text's parts, as the expression makes them."""
    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    learnt.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=ENDS, initial_alphabet=alphabet)
    learnt.train_from_iterator([text], trainer)
    return learnt


def of_characters() -> Tokenizer:
    """Return a tokenizer of Gemma's kind: characters are merged, and others are their bytes."""
    learnt = Tokenizer(models.BPE())
    learnt.normalizer = normalizers.Replace(" ", "▁")
    trainer = trainers.BpeTrainer(vocab_size=300, special_tokens=["<unk>", *ENDS])
    learnt.train_from_iterator(re.split(r"(\n+)", WITH_MARKS), trainer)  # no word has a line's end in it
    model = json.loads(learnt.to_str())["model"]
    words = [*(f"<0x{byte:02X}>" for byte in range(256)), *model["vocab"]]
    vocabulary = {word: index for index, word in enumerate(words)}
    merges = [tuple(pair) for pair in model["merges"]]
    learnt.model = models.BPE(
        vocab=vocabulary, merges=merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True
    )
    learnt.add_special_tokens(["<unk>", *ENDS])
    return learnt


def parted_alike(tokenizer: Tokenizer, text: str, folder: Path) -> bool:
    fast: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=ENDS[1])
    base = save_base(small_llama(), fast, folder / "base")
    write_base_as_gguf(Source("adapter-0", "base", "full", ENTRY, base, base), folder / "gguf")
    with llama_cpp(folder / "gguf" / "model-f16.gguf") as runtime:
        return runtime.tokens(text) == fast(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("pattern", SPLITS, ids=SPLITS.values())
def test_texts_are_parted_by_the_same_expression(pattern: str, tmp_path: Path) -> None:
    text = TEXT if SPLITS[pattern] in PARTS_OF_WORDS else WITH_MARKS
    assert parted_alike(of_bytes(pattern, text), text, tmp_path)


def test_characters_are_merged_and_unknown_ones_are_bytes(tmp_path: Path) -> None:
    assert parted_alike(of_characters(), f"{WITH_MARKS} 😀 Äpfel <|im_end|>", tmp_path)


def test_an_expression_without_a_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="splits text in a way that has no known name"):
        parted_alike(of_bytes(r"\p{L}+|\p{N}+|\s+|[^\s]"), TEXT, tmp_path)
