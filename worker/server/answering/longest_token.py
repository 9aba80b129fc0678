"""Refuses texts by their bytes, before they are tokenized: so long that no tokens are few enough."""

import json
from functools import lru_cache
from typing import Any

from core.errors import InvalidRequest

# Normalisation C makes at most one byte of three: of Hangul's parts, or of the sign for kelvin
NORMALISED = {None: 1, "NFC": 3}


def refuse_by_bytes(tokenizer: Any, text: str, max_length: int, param: str) -> None:
    """Raise InvalidRequest, which names `param`, if `max_length` tokens cannot have so many bytes."""
    most = longest_token(tokenizer) if len(text) > max_length else None
    if most is not None and (size := len(text.encode(errors="surrogatepass"))) > most * max_length:
        raise InvalidRequest(
            f"This model's maximum context length is {max_length} tokens of at most {most} bytes, but "
            f"'{param}' has {size:,} bytes and leaves no room for an answer. Shorten it.",
            code="context_length_exceeded",
            param=param,
        )


@lru_cache(maxsize=1)
def longest_token(tokenizer: Any) -> int | None:
    """Return the most bytes of a text that one token stands for. None if it may stand for any number.

    Only what tokenizes each byte of a text has such a number. Others may drop spaces, or have one token for
    all that is unknown.
    """
    parts = json.loads(tokenizer.backend_tokenizer.to_str())
    normaliser = (parts["normalizer"] or {}).get("type")
    keeps_bytes = (
        parts["model"]["type"] == "BPE"
        and '"ByteLevel"' in json.dumps(parts["pre_tokenizer"])
        and '"Removed"' not in json.dumps(parts["pre_tokenizer"])
        and not any(token["lstrip"] or token["rstrip"] for token in parts["added_tokens"])
    )
    if not keeps_bytes or normaliser not in NORMALISED:
        return None
    return NORMALISED[normaliser] * max(len(token.encode()) for token in tokenizer.get_vocab())
