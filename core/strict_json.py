"""What JSON's grammar allows and we do not: a key twice, NaN and Infinity, text that Postgres cannot hold."""

import re
from typing import Any, NoReturn

UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # NUL, and half of a surrogate pair
REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class RepeatedKeys(dict[str, Any]):
    """An object in which `key` stands twice: JSON allows it, and readers disagree about what it means."""

    key: str


class NotANumber(ValueError):
    """NaN, Infinity or -Infinity, which Python reads and JSON does not know; str() is the constant."""


def mark_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An `object_pairs_hook`: an object with a key that stands twice becomes `RepeatedKeys`."""
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
    """A `parse_constant`. Raises NotANumber."""
    raise NotANumber(name)


def storable(text: str) -> str:
    """`text` as Postgres can hold it."""
    return UNSTORABLE.sub(REPLACEMENT, text)
