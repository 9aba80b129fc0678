"""Writes a tokenizer of transformers into a GGUF file."""

import json
from pathlib import Path
from typing import Any

import gguf

from core.errors import JobError

DIGITS_AT_ONCE = {1: "qwen2", 3: "llama-bpe"}  # how the two splits of this form part numbers


def add_tokenizer(writer: gguf.GGUFWriter, folder: Path, tokenizer: Any, vocabulary: int) -> None:
    """Add tokens, merges, special tokens and the chat template. Raises JobError for an unknown tokenizer."""
    stored = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_pre_tokenizer(stored))
    tokens, types = _tokens(tokenizer, stored, vocabulary)
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    special = gguf.SpecialVocab(folder, load_merges=True, n_vocab=vocabulary)
    template = tokenizer.chat_template
    special.chat_template = template.get("default") if isinstance(template, dict) else template
    special.add_to_gguf(writer, quiet=True)


def _pre_tokenizer(stored: dict[str, Any]) -> str:
    """Return llama.cpp's name for the way in which a tokenizer splits text before it merges bytes."""
    if stored["model"].get("type") != "BPE" or stored["model"].get("byte_fallback"):
        raise _unknown("it is no BPE of bytes")
    steps = stored.get("pre_tokenizer") or {}
    steps = steps.get("pretokenizers", [steps])
    kinds = [step.get("type") for step in steps]
    if kinds == ["ByteLevel"] and steps[0].get("use_regex", True):
        return "gpt-2"
    if kinds == ["Digits", "ByteLevel"] and steps[0].get("individual_digits"):
        return "smollm"
    if kinds == ["Split", "ByteLevel"]:
        pattern = steps[0]["pattern"].get("Regex", "")
        for digits, name in DIGITS_AT_ONCE.items():
            number = r"\p{N}" if digits == 1 else rf"\p{{N}}{{1,{digits}}}"
            if f"|{number}|" in pattern and pattern.startswith("(?i:'s|'t|"):
                return name
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
