"""`{{ sample.output_text }}`, `{{ item.answers[0].text }}`: paths into two values, and nothing else.

There are no filters, loops or expressions, so a template from a client can do no more than name a value.
"""

import json
import re
from typing import Any

BRACES = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
PATH = re.compile(r"(item|sample)((?:\.[A-Za-z_]\w*|\[\d{1,6}\]|\[\"[^\"\]]*\"\]|\['[^'\]]*'\])*)")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]|\[[\"'](.*?)[\"']\]")


class UnknownVariable(Exception):
    """The path leads to nothing in this item or sample; str() is the path."""


class NoJson(Exception):
    """The template wants `sample.output_json`, and the sample is no JSON."""


def malformed(template: str) -> str | None:
    """The first `{{ … }}` of `template` that is no path."""
    return next((inner for inner in BRACES.findall(template) if not PATH.fullmatch(inner.strip())), None)


def render(template: str, item: Any, sample: str) -> str:
    """Raises UnknownVariable, NoJson. What is no string is written as JSON."""

    def value(match: re.Match[str]) -> str:
        found = _follow(match[1].strip(), item, sample)
        return found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)

    return BRACES.sub(value, template)


def _follow(path: str, item: Any, sample: str) -> Any:
    parsed = PATH.fullmatch(path)
    assert parsed is not None, "templates are checked before they are rendered"
    found: Any = item if parsed[1] == "item" else _Sample(sample)
    for name, index, key in STEP.findall(parsed[2]):
        try:
            found = found[int(index)] if index else found[name or key]
        except (KeyError, IndexError, TypeError) as error:
            raise UnknownVariable(path) from error
    if isinstance(found, _Sample):
        raise UnknownVariable(path)
    return found


class _Sample:
    """The namespace `sample`."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __getitem__(self, name: str) -> Any:
        if name == "output_text":
            return self._text
        if name == "output_json":
            try:
                return json.loads(self._text)
            except (ValueError, RecursionError) as error:
                raise NoJson from error
        raise KeyError(name)
