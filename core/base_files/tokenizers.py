"""Compares the tokenizers of two base models by their files, without loading a tokenizer."""

import json
from pathlib import Path
from typing import Any

from core.base_files.chat_templates import templates_in

TOKENIZER = "tokenizer.json"


def has_tokenizer(folder: Path) -> bool:
    """Return whether a folder has the file that is compared."""
    return (folder / TOKENIZER).is_file()


def difference(one: Path, other: Path) -> str | None:
    """Return in what the tokenizers of two folders differ, as a sentence; None if each text has equal tokens.

    Vocabularies are compared by their tokens and numbers, and chat templates by their texts. Raises OSError.
    """
    try:
        if _vocabulary(one) != _vocabulary(other):
            return "Their vocabularies differ."
        if templates_in(one) != templates_in(other):
            return "Their chat templates differ."
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return f"The files of one of them have another form: {error!r}."
    return None


def _vocabulary(folder: Path) -> dict[str, int]:
    """Return the number of each token. A model of the kind Unigram lists its tokens with their scores."""
    content: dict[str, Any] = json.loads((folder / TOKENIZER).read_bytes())
    found = content["model"]["vocab"]
    if isinstance(found, list):
        found = {text: number for number, (text, _) in enumerate(found)}
    return found | {token["content"]: token["id"] for token in content.get("added_tokens") or []}
