"""Renders templates such as `{{ sample.output_text }}` or `{{ item.answers[0].text }}`.

Between the braces there may only be a path into `item` or `sample`. There are no filters, loops or
expressions, so a client's template can only name a value.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from core.graders.sample import Sample

BRACES = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
PATH = re.compile(r"(item|sample)((?:\.[A-Za-z_]\w*|\[\d{1,6}\]|\[\"[^\"\]]*\"\]|\['[^'\]]*'\])*)")
STEP = re.compile(r"\.(\w+)|\[(\d+)\]|\[[\"'](.*?)[\"']\]")


class UnknownVariable(Exception):
    """A path leads to no value in this item or sample; str() is the path."""


class TooLong(Exception):
    """The rendered text has more characters than allowed."""


def malformed(template: str) -> str | None:
    """Return the content of the first `{{ … }}` in `template` that is not a path, or None."""
    return next((found[1] for found in _braces(template) if not PATH.fullmatch(found[1].strip())), None)


def render(template: str, item: Any, sample: Sample, max_length: int) -> str:
    """Return the template with the values in place of the paths.

    A value that is not a string is written as JSON. Raises UnknownVariable; NoJson if the template
    names the JSON of a sample that is none; and TooLong as soon as there are more than `max_length`
    characters.
    """
    pieces, length = [], 0
    for piece in _pieces(template, item, sample):
        length += len(piece)
        if length > max_length:
            raise TooLong
        pieces.append(piece)
    return "".join(pieces)


def _pieces(template: str, item: Any, sample: Sample) -> Iterator[str]:
    end = 0
    for found in _braces(template):
        yield template[end : found.start()]
        value = _follow(found[1].strip(), item, sample)
        yield value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        end = found.end()
    yield template[end:]


def _braces(template: str) -> Iterator[re.Match[str]]:
    """Find each `{{ … }}`. The search ends at the last `}}`.

    Otherwise each `{{` after the last `}}` would make the regular expression read the rest of the text.
    """
    return BRACES.finditer(template, 0, template.rfind("}}") + 2)


def _follow(path: str, item: Any, sample: Sample) -> Any:
    parsed = PATH.fullmatch(path)
    assert parsed is not None, "templates are checked before they are rendered"
    found: Any = item if parsed[1] == "item" else sample
    for name, index, key in STEP.findall(parsed[2]):
        try:
            found = found[int(index)] if index else found[name or key]
        except (KeyError, IndexError, TypeError) as error:
            raise UnknownVariable(path) from error
    if isinstance(found, Sample):
        raise UnknownVariable(path)
    return found
