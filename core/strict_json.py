"""JSON that we refuse: a repeated key, NaN and Infinity, and text that Postgres cannot store."""

import re
from typing import Any, NoReturn

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # NUL, and one half of a surrogate pair
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class RepeatedKeys(dict[str, Any]):
    """An object that contains `key` twice. JSON allows it, and readers disagree about its meaning."""

    key: str


class NotANumber(ValueError):
    """NaN, Infinity or -Infinity. Python reads them, but they are not JSON. `str()` is the constant."""


def mark_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make `RepeatedKeys` of an object with a repeated key. This is an `object_pairs_hook` of `json`."""
    plain = dict(pairs)
    if len(plain) == len(pairs):
        return plain
    repeated = RepeatedKeys(plain)
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            repeated.key = key
            break
        seen.add(key)
    return repeated


def refuse_constant(name: str) -> NoReturn:
    """Raise NotANumber. This is a `parse_constant` of `json`."""
    raise NotANumber(name)


def storable(text: str) -> str:
    """Return `text` in a form that Postgres can store."""
    return UNSTORABLE.sub(REPLACEMENT, text)
