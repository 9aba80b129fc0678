"""JSON that we refuse or change: repeated keys, NaN and Infinity, and text that Postgres cannot store."""

import re
from math import isfinite
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


def finite(number: float | None) -> float | None:
    """Return the number, or None for one that is not finite: JSON has no such number."""
    return number if number is None or isfinite(number) else None


def storable(text: str) -> str:
    """Return `text` in a form that Postgres can store."""
    return UNSTORABLE.sub(REPLACEMENT, text)


def storable_json(value: Any) -> Any:
    """Return a JSON value whose texts, also the names in its objects, Postgres can store."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, dict):
        return {storable_json(name): storable_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(each) for each in value]
    return value
