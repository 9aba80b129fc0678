"""The rules of images in messages. They look at an image's URL, and decode nothing."""

from collections.abc import Iterator
from typing import Any

from core.datasets.common_rules import json_type, key_findings
from core.datasets.findings import Finding, quote
from core.images.parts import DETAILS, TYPE, UnusableImage, encoded_image

PART_KEYS = ("type", TYPE)
IMAGE_KEYS = ("url", "detail")
FORM = '{"url": "data:image/png;base64,…"}'


def image_findings(part: dict[str, Any], at: str, role: Any) -> Iterator[Finding]:
    """Yield what is wrong with a part that holds an image. `at` is the path to it."""
    yield from key_findings(part, at, PART_KEYS)
    if role != "user":
        yield Finding(at, "misplaced_image", "only messages of the user can have images; remove the part")
        return
    image, at = part.get(TYPE), f"{at}.{TYPE}"
    if not isinstance(image, dict):
        yield Finding(at, "wrong_type", f"must be an object such as {FORM}, not {json_type(image)}")
        return
    yield from key_findings(image, at, IMAGE_KEYS)
    detail = image.get("detail")
    if detail is not None and detail not in DETAILS:
        shown = quote(detail) if isinstance(detail, str) else json_type(detail)
        yield Finding(f"{at}.detail", "invalid_detail", f"must be {', '.join(DETAILS)}, not {shown}")
    yield from _url_findings(image.get("url"), f"{at}.url")


def _url_findings(url: Any, at: str) -> Iterator[Finding]:
    if not isinstance(url, str):
        yield Finding(at, "wrong_type", f"must be a data URL in a string, not {json_type(url)}")
    else:
        try:
            encoded_image(url)
        except UnusableImage as error:
            yield Finding(at, error.code, str(error))
