"""The rules that hold for all kinds of rows: keys, types and texts of JSON values."""

import json
import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from core.datasets.findings import QUOTE_LENGTH, Finding, quote
from core.strict_json import RepeatedKeys

PLAIN_ROLES = ("system", "developer", "user", "assistant")
ROLES = (*PLAIN_ROLES, "tool")
ABSENT: tuple[Any, ...] = (None, [], {}, "")  # what clients send for a key that they do not use
MISSPELT = 0.8  # how similar a key must be to one that the row lacks, from 0 to 1
SURROGATE = re.compile("[\ud800-\udfff]")


def row_is_no_object(row: Any, form: str) -> Finding:
    """Return the finding on a row that is not a JSON object; `form` shows what to write."""
    return Finding("", "not_an_object", f"a row must be an object, not {json_type(row)}; write {form}")


def missing_findings(row: dict[str, Any], keys: tuple[str, ...], form: str) -> Iterator[Finding]:
    """Yield a finding for each of `keys` that the row lacks; `form` shows what to write."""
    for key in keys:
        if key not in row:
            yield Finding(key, "missing", f"the row has no {key}; write {form}")


def row_key_findings(row: dict[str, Any], known: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what is wrong with the keys of a row: a repeated key, and a misspelt one.

    Other unknown keys, such as an id, are ignored. A check of the content warns of them.
    """
    yield from _repeated_key_findings(row, "")
    for key in unknown_keys(row, known):
        lacking = [name for name in known if name not in row]
        near = get_close_matches(key[:QUOTE_LENGTH], lacking, n=1, cutoff=MISSPELT)
        if near:
            yield _unknown_key("", key, near)


def key_findings(found: dict[str, Any], at: str, known: tuple[str, ...]) -> Iterator[Finding]:
    """Yield what is wrong with the keys of an object in a row: a repeated key, and keys not `known`."""
    yield from _repeated_key_findings(found, at)
    for key in unknown_keys(found, known):
        yield _unknown_key(at, key, get_close_matches(key[:QUOTE_LENGTH], known, n=1))


def unknown_keys(found: dict[str, Any], known: tuple[str, ...]) -> list[str]:
    """Return the keys that are not `known`. A key whose value is null or empty says nothing."""
    return [key for key, value in found.items() if key not in known and value not in ABSENT]


def _repeated_key_findings(found: dict[str, Any], at: str) -> Iterator[Finding]:
    if isinstance(found, RepeatedKeys):
        yield Finding(at, "duplicate_key", f"the key {quote(found.key)} occurs twice; remove one")


def _unknown_key(at: str, key: str, near: list[str]) -> Finding:
    advice = f"did you mean {quote(near[0])}?" if near else "remove it"
    return Finding(at, "unknown_key", f"unknown key {quote(key)}; {advice}")


def surrogate_findings(text: str, at: str) -> Iterator[Finding]:
    """Yield a finding if the text has half of a character, which no tokenizer takes."""
    surrogate = SURROGATE.search(text)
    if surrogate:
        escape = f"\\u{ord(surrogate[0]):04x}"
        yield Finding(
            at, "lone_surrogate", f"has {escape} alone, half of a character; write the whole character"
        )


def json_type(value: Any) -> str:
    """Return the type of a JSON value in words that fit into a sentence, such as "an array"."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    kinds: dict[type, str] = {dict: "an object", list: "an array", str: "a string"}
    return next((name for kind, name in kinds.items() if isinstance(value, kind)), "a number")
