"""The part of a message that holds an image, in OpenAI's form, and the bytes in its URL.

`{"type": "image_url", "image_url": {"url": "data:image/png;base64,…", "detail": "auto"}}`
"""

import binascii
import re
from typing import NamedTuple

TYPE = "image_url"
DETAILS = ("auto", "low", "high")
MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp"}
"""The media type of each format that is accepted."""
MAX_BYTES = 10 * 1024**2
MAX_IN_ROW = 10
MAX_URL = 64 + 4 * -(-MAX_BYTES // 3)  # characters of a data URL
DATA_URL = re.compile(r"data:(?P<type>[\w.+-]+/[\w.+-]+);base64,", re.ASCII | re.IGNORECASE)


class UnusableImage(ValueError):
    """An image that is not accepted. The message says what is wrong with it and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)  # both, so that another process can be sent the error
        self.code, self.message = code, message

    def __str__(self) -> str:
        return self.message


class EncodedImage(NamedTuple):
    """The image in a data URL: the media type that the URL says, and the bytes."""

    media_type: str
    content: bytes


def encoded_image(url: str) -> EncodedImage:
    """Return the image in a data URL, without decoding it. Raises UnusableImage."""
    if url[:8].lower().startswith(("http://", "https://")):
        raise UnusableImage(
            "invalid_image_url",
            "is elsewhere, and this server fetches no images; write the image itself as a data URL",
        )
    found = DATA_URL.match(url)
    if found is None:
        raise UnusableImage(
            "invalid_image_url", "must begin with data:image/png;base64, or with another type of image"
        )
    if found["type"].lower() not in MEDIA_TYPES.values():
        raise UnusableImage(
            "unsupported_image", f"is no JPEG, PNG or WEBP, but {found['type'][:64]}; convert it"
        )
    try:
        content = binascii.a2b_base64(url[found.end() :], strict_mode=True)
    except (binascii.Error, ValueError) as error:
        raise UnusableImage("invalid_image_url", "is no base64 after the comma; encode it again") from error
    if len(content) > MAX_BYTES:
        raise too_large()
    return EncodedImage(found["type"], content)


def too_large() -> UnusableImage:
    return UnusableImage("image_too_large", f"has more than {MAX_BYTES:,} bytes; make the image smaller")


def too_costly() -> UnusableImage:
    return UnusableImage(
        "image_too_costly", "takes too much time or memory to read; save it again, or make it smaller"
    )
