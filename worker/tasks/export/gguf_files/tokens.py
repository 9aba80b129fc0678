"""Writes a tokenizer of transformers into a GGUF file."""

import json
import re
from pathlib import Path
from typing import Any

import gguf

from core.errors import JobError

ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
WORDS = rf"{ENDINGS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|%s| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{SPACES}"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PARTS_OF_WORDS = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*%s|%s"
    rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}"
)
MARKED = WORDS.replace(r"?\p{L}+", r"?[\p{L}\p{M}]+").replace(r"[^\s\p{L}\p{N}]", r"[^\s\p{L}\p{M}\p{N}]")
DIGIT, DIGITS = r"\p{N}", r"\p{N}{1,3}"
SPLITS = {
    WORDS % DIGIT: "qwen2",
    WORDS % DIGITS: "llama-bpe",
    MARKED % DIGIT: "qwen35",
    PARTS_OF_WORDS % (f"{ENDINGS}?", f"{ENDINGS}?", DIGITS): "gpt-4o",
    PARTS_OF_WORDS % ("", "", DIGIT): "tekken",
}
"""llama.cpp's names for the expressions by which tokenizers split texts"""
BYTE = re.compile(r"<0x[0-9A-F]{2}>")
WITH_SPACES_REPLACED = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, tokenizer: Any, vocabulary: int) -> None:
    """Add tokens, merges, special tokens and the chat template. Raises JobError for an unknown tokenizer."""
    stored = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    tokens, types = _tokens(tokenizer, stored, vocabulary)
    if _is_of_characters(stored):
        writer.add_tokenizer_model("gemma4")
        writer.add_token_scores([0.0] * len(tokens))  # llama.cpp asks for them, and goes by the merges
        writer.add_add_space_prefix(False)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(_pre_tokenizer(stored))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    special = gguf.SpecialVocab(folder, load_merges=True, n_vocab=vocabulary)
    template = tokenizer.chat_template
    special.chat_template = template.get("default") if isinstance(template, dict) else template
    special.add_to_gguf(writer, quiet=True)


def _is_of_characters(stored: dict[str, Any]) -> bool:
    """Return whether the tokenizer merges characters, with ▁ for spaces, as Gemma's does."""
    model = stored["model"]
    is_bpe = model.get("type") == "BPE" and bool(model.get("byte_fallback"))
    return is_bpe and stored.get("normalizer") == WITH_SPACES_REPLACED


def _pre_tokenizer(stored: dict[str, Any]) -> str:
    """Return llama.cpp's name for the way in which a tokenizer splits text before it merges bytes."""
    if stored["model"].get("type") != "BPE" or stored["model"].get("byte_fallback"):
        raise _unknown("it is no BPE of bytes, or of characters as Gemma's")
    steps = stored.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        pattern = steps[0]["pattern"].get("Regex", "")
        if pattern in SPLITS:
            return SPLITS[pattern]
    raise _unknown("it splits text in a way that has no known name in llama.cpp")


def _tokens(tokenizer: Any, stored: dict[str, Any], vocabulary: int) -> tuple[list[str], list[int]]:
    """Return the tokens by their ids, and llama.cpp's types of them. Ids without a token are filled up."""
    special = {token["content"]: token["special"] for token in stored.get("added_tokens", [])}
    by_id = {index: token for token, index in tokenizer.get_vocab().items()}
    tokens, types = [], []
    for index in range(vocabulary):
        token = by_id.get(index)
        tokens.append(f"[PAD{index}]" if token is None else token)
        types.append(_type(token, special))
    return tokens, types


def _type(token: str | None, special: dict[str, bool]) -> int:
    kinds = gguf.TokenType
    if token is None:
        return int(kinds.UNUSED)
    if BYTE.fullmatch(token) and token not in special:
        return int(kinds.BYTE)
    if token not in special:
        return int(kinds.NORMAL)
    return int(kinds.CONTROL if special[token] else kinds.USER_DEFINED)


def _unknown(reason: str) -> JobError:
    return JobError(
        "not_convertible",
        f"The model's tokenizer is not converted to GGUF here: {reason}. Export the merged model, and "
        "convert it with llama.cpp's script.",
        "format",
    )
