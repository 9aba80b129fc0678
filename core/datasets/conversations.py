"""The conversations of a row, by its kind: other keys of a row are ignored, whatever they hold."""

from collections.abc import Iterator
from typing import Any

from core.datasets.kinds import Kind
from core.datasets.labelled_rules import PROMPT_KEYS, labelled_keys
from core.datasets.preference_rules import OPENAI_KEYS, TRL_KEYS, pair_keys

Row = dict[str, Any]
Messages = list[dict[str, Any]]

INPUT = "input.messages"


def conversations(row: Row, kind: Kind) -> Iterator[tuple[str, Messages]]:
    """Yield the lists of messages in OpenAI's form of a checked row, each with the path to it.

    A separate prompt comes first. ShareGPT's form has none: its turns are not messages.
    """
    for path in _paths(row, kind):
        if path == INPUT:
            yield path, row["input"]["messages"]
        elif path in row:
            yield path, row[path]


def _paths(row: Row, kind: Kind) -> tuple[str, ...]:
    if kind in ("chat", "prompt"):
        return ("messages",)
    if kind == "labelled":
        return ("prompt", "completion") if labelled_keys(row) is PROMPT_KEYS else ("messages",)
    keys = pair_keys(row)
    if keys is OPENAI_KEYS:
        return (INPUT, "preferred_output", "non_preferred_output")
    return ("prompt", "chosen", "rejected") if keys is TRL_KEYS else ()
