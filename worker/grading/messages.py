"""Makes the messages, texts and images of templates, with the values of an item and a sample."""

from collections.abc import Sequence
from typing import Any

from core.graders.sample import NoJson, Sample
from core.graders.schemas import InputImage, InputText, Message, OutputText
from core.graders.templates import TooLong, UnknownVariable, malformed, render
from core.images.parts import MAX_URL, TYPE
from worker.grading.row_failed import RowFailed

MAX_PROMPT = 1_000_000  # characters of one text; the model's own limit is lower

Messages = list[dict[str, Any]]


def rendered(template: Sequence[Message], item: dict[str, Any], sample: Sample) -> Messages:
    """Return a template's messages with the values of an item and a sample. Raises RowFailed."""
    return [{"role": each.role, "content": _content(each.content, item, sample)} for each in template]


def text_of(template: str, item: dict[str, Any], sample: Sample, most: int = MAX_PROMPT) -> str:
    """Return a template with its values, at most `most` characters. Raises RowFailed, or NoJson."""
    if (wrong := malformed(template)) is not None:
        raise RowFailed(
            "invalid_template", f"The template holds '{{{{{wrong[:64]}}}}}', which is not a path."
        )
    try:
        return render(template, item, sample, most)
    except UnknownVariable as error:
        reason = f"The row has no '{error}', which a template names."
        raise RowFailed("invalid_variable_error", reason) from error
    except TooLong as error:
        raise RowFailed("text_too_long", f"A text has more than {most:,} characters.") from error


def _content(content: Any, item: dict[str, Any], sample: Sample) -> str | list[dict[str, Any]]:
    """Return the text of a message, or its parts if it has images."""
    parts = content if isinstance(content, list) else [content]
    if any(isinstance(part, InputImage) for part in parts):
        return [_part(part, item, sample) for part in parts]
    return "".join(_text(part, item, sample) for part in parts)


def _part(part: Any, item: dict[str, Any], sample: Sample) -> dict[str, Any]:
    if not isinstance(part, InputImage):
        return {"type": "text", "text": _text(part, item, sample)}
    url = _filled(part.image_url, item, sample, MAX_URL)
    return {"type": TYPE, TYPE: {"url": url, "detail": part.detail or "auto"}}


def _text(part: Any, item: dict[str, Any], sample: Sample) -> str:
    if isinstance(part, InputText | OutputText):
        part = part.text
    if not isinstance(part, str):
        raise RowFailed("unsupported_input", "A message may have text and images, and no audio.")
    return _filled(part, item, sample, MAX_PROMPT)


def _filled(template: str, item: dict[str, Any], sample: Sample, most: int) -> str:
    try:
        return text_of(template, item, sample, most)
    except NoJson as error:
        raise RowFailed(
            "sample_parse_error", "A template names the sample's JSON, but it is none."
        ) from error
