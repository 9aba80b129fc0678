"""The images of a checked row, and the check of what they hold."""

import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from core.datasets.conversations import conversations
from core.datasets.findings import Finding
from core.datasets.kinds import Kind
from core.images.parts import MAX_IN_ROW, TYPE, UnusableImage

# The text in base64 of an image, as JSON may write it: with an escape before each slash
ENCODED = re.compile(rb";base64,([A-Za-z0-9+/=\\]+)")

Look = Callable[[str], Any]
"""Decodes the image in a data URL. Raises UnusableImage."""


class ImageCheck(NamedTuple):
    """How the images of a file are checked: what decodes them, and how many bytes a row may have for them."""

    look: Look
    max_row_bytes: int


def images_of(row: dict[str, Any], kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield the path to the URL of each image of a row, and the URL."""
    for path, messages in conversations(row, kind):
        for index, message in enumerate(messages):
            for number, part in image_parts(message):
                yield f"{path}[{index}].content[{number}].{TYPE}.url", part[TYPE]["url"]


def image_parts(message: dict[str, Any]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the parts of a message that hold an image, with their numbers."""
    content = message.get("content")
    for number, part in enumerate(content if isinstance(content, list) else ()):
        if part["type"] == TYPE:
            yield number, part


def row_image_findings(row: dict[str, Any], kind: Kind, look: Look | None) -> Iterator[Finding]:
    """Yield what is wrong with the images of a row, whose form is right. Without `look`, none is decoded."""
    images = list(images_of(row, kind))
    if len(images) > MAX_IN_ROW:
        at, _ = images[MAX_IN_ROW]
        yield Finding(
            at, "too_many_images", f"the row has {len(images)} images, more than {MAX_IN_ROW}; split the row"
        )
    elif look is not None:
        for at, url in images:
            try:
                look(url)
            except UnusableImage as error:
                yield Finding(at, error.code, str(error))


def bytes_without_images(line: bytes) -> int:
    """Return the bytes of a line of JSON beside those of its images."""
    return len(line) - sum(len(found[1]) for found in ENCODED.finditer(line))
