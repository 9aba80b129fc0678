"""Names the images of a row instead of keeping them: the records of a run would be as large as its images."""

import binascii
import re
from contextlib import suppress
from hashlib import sha256
from typing import Any

IMAGE = re.compile(r"data:(image/[\w.+-]+);base64,([A-Za-z0-9+/=]+)", re.ASCII | re.IGNORECASE)


def with_named_images(value: Any) -> Any:
    """Return a JSON value with `image/png, sha256 …` in the place of each data URL of an image."""
    match value:
        case dict():
            return {key: with_named_images(inner) for key, inner in value.items()}
        case list():
            return [with_named_images(inner) for inner in value]
        case str():
            return IMAGE.sub(_name, value)
    return value


def _name(url: re.Match[str]) -> str:
    """Return the name of an image: the hash of its bytes, or of their text if that is no base64."""
    content = url[2].encode()
    with suppress(binascii.Error):
        content = binascii.a2b_base64(content, strict_mode=True)
    return f"{url[1].lower()}, sha256 {sha256(content).hexdigest()}"
