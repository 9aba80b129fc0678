"""Names the images of a row instead of keeping them: the records of a run would be as large as its images."""

from hashlib import sha256
from typing import Any

from core.images.parts import DATA_URL, UnusableImage, encoded_image


def with_named_images(value: Any) -> Any:
    """Return a JSON value with `image/png, sha256 …` for each image in a data URL."""
    match value:
        case dict():
            return {key: with_named_images(inner) for key, inner in value.items()}
        case list():
            return [with_named_images(inner) for inner in value]
        case str() if DATA_URL.match(value):
            return _name(value)
    return value


def _name(url: str) -> str:
    try:
        image = encoded_image(url)
    except UnusableImage:
        return url
    return f"{image.media_type.lower()}, sha256 {sha256(image.content).hexdigest()}"
