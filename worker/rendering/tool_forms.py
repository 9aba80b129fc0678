"""The forms in which models write calls of tools. The model's chat template shows which form it has learnt.

Qwen and Hermes models write `<tool_call>{"name": …, "arguments": …}</tool_call>`, several ones if they like.
Llama writes one JSON object, with the key `parameters`, and nothing else. Other models write a JSON object or
array with the key `arguments`.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from core.strict_json import storable

NAME, ARGUMENT_KEYS = "name", ("arguments", "parameters")


@dataclass(frozen=True)
class Call:
    """A call of a tool. `arguments` is JSON, or a text if the model wrote one in its place."""

    name: str
    arguments: str


@dataclass(frozen=True)
class ToolForm:
    """How a model writes calls. Without marks, a call is all of the answer's text."""

    opening: str
    closing: str
    arguments: str


TAGGED = ToolForm("<tool_call>", "</tool_call>", "arguments")
LLAMA = ToolForm("", "", "parameters")
PLAIN = ToolForm("", "", "arguments")


def form_of(template: str) -> ToolForm:
    """Return the form that the chat template shows."""
    if TAGGED.opening in template:
        return TAGGED
    return LLAMA if '"parameters"' in template or "<|python_tag|>" in template else PLAIN


def calls_in(text: str, names: frozenset[str]) -> list[Call]:
    """Return the calls that JSON text consists of, or nothing if it is something else.

    A call of a tool that the request does not have is something else: a model may answer with JSON.
    """
    found = [_call(each, names) for each in _values(text.strip())]
    return [] if None in found else [call for call in found if call is not None]


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON values of the text: one, those of an array, or several ones between semicolons."""
    decoder, position = json.JSONDecoder(), 0
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except (ValueError, RecursionError):
            yield None
            return
        yield from value if isinstance(value, list) else [value]
        while position < len(text) and text[position] in "; \n\r\t":
            position += 1


def _call(value: Any, names: frozenset[str]) -> Call | None:
    name = value.get(NAME) if isinstance(value, dict) else None
    if not isinstance(name, str) or name not in names:
        return None
    arguments: Any = next((value[key] for key in ARGUMENT_KEYS if key in value), {})
    try:
        text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
    except RecursionError:
        return None
    return Call(name, storable(text))  # a model may write half of a surrogate pair, as `\ud83d`
