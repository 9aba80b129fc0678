"""Refuses a text by its bytes before it is tokenized, if it is so long that no tokens can be few enough."""

import json
from typing import Any, NamedTuple

from core.errors import InvalidRequest

# Normalisation C makes at most one byte of three: of Hangul's parts, or of the sign for kelvin
NORMALISED = {None: 1, "NFC": 3}


class Room(NamedTuple):
    """The most tokens of a text, and the most bytes for which one stands. None if there is no such number."""

    tokens: int
    token_bytes: int | None

    def refuse_by_bytes(self, text: str, param: str) -> None:
        """Raise InvalidRequest, which names `param`, if no tokens can be few enough for so many bytes."""
        if self.token_bytes is None or len(text) <= self.tokens:
            return
        size = len(text.encode(errors="surrogatepass"))
        if size > self.token_bytes * self.tokens:
            raise InvalidRequest(
                f"This model's maximum context length is {self.tokens} tokens of at most {self.token_bytes} "
                f"bytes, but '{param}' has {size:,} bytes and leaves no room for an answer. Shorten it.",
                code="context_length_exceeded",
                param=param,
            )


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
