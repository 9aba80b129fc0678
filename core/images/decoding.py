"""Decodes an image that nobody has checked. Only a process with limits of time and memory calls this.

Images that say more than pixels in red, green and blue are refused instead of guessed at.
"""

import warnings
from io import BytesIO
from typing import NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

from core.images.parts import MAX_BYTES, MEDIA_TYPES, UnusableImage, too_large

MAX_PIXELS = 50_000_000
MAX_RATIO = 200
"""The longer side is at most so many times the shorter one. Any model's scaling makes a line of the rest"""
EXACT_MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1")
"""These modes have an exact form in RGB or RGBA: the two themselves, grey and palettes"""
MODES_IN_WORDS = {"CMYK": "CMYK, the colours of a printer", "YCCK": "CMYK, the colours of a printer"}


class ImageFacts(NamedTuple):
    """What an image is: its media type, and its width and height in pixels, upright."""

    media_type: str
    width: int
    height: int


def facts_of(content: bytes, media_type: str | None = None) -> ImageFacts:
    """Return what an image is, after every pixel of it was decoded.

    `media_type` is what its URL says. Raises UnusableImage, and MemoryError if it takes too much memory.
    """
    found, image = _opened(content, media_type)
    return ImageFacts(found, *image.size)


def pixels_of(content: bytes) -> Image.Image:
    """Return an image, upright, in the mode RGB or RGBA. Raises UnusableImage and MemoryError."""
    return _opened(content, None)[1]


def _opened(content: bytes, media_type: str | None) -> tuple[str, Image.Image]:
    if len(content) > MAX_BYTES:
        raise too_large()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes, which are checked here, and of damaged metadata
        try:
            with Image.open(BytesIO(content), formats=tuple(MEDIA_TYPES)) as image:
                found = _media_type(image)
                _check(image, found, media_type)
                image.load()
                upright = ImageOps.exif_transpose(image)
                has_alpha = image.has_transparency_data
                return found, upright.convert("RGBA" if has_alpha else "RGB")
        except UnusableImage:
            raise
        except UnidentifiedImageError as error:
            raise UnusableImage(
                "unsupported_image", "is no JPEG, PNG or WEBP, whatever it is called; convert it"
            ) from error
        except Image.DecompressionBombError as error:
            raise _too_many_pixels() from error
        except Exception as error:  # any kind: a decoder reads what nobody has checked
            if isinstance(error, MemoryError):
                raise
            raise UnusableImage(
                "damaged_image", "cannot be decoded: it is cut off or damaged; save it again"
            ) from error


def _media_type(image: Image.Image) -> str:
    # A phone's JPEG may hold a second view, and Pillow then calls it MPO: the first view is the photo
    return MEDIA_TYPES["JPEG" if image.format == "MPO" else str(image.format)]


def _check(image: Image.Image, found: str, said: str | None) -> None:
    """Raise UnusableImage if an image is not acceptable. No pixel has been decoded yet."""
    if said is not None and said.lower() != found:
        raise UnusableImage("wrong_image_type", f"says {said}, but the image is {found}; say {found}")
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_many_pixels()
    if max(width, height) > MAX_RATIO * min(width, height):
        raise UnusableImage(
            "image_too_narrow", f"is {width} × {height} pixels, a line that no model can see; cut it in parts"
        )
    if found != MEDIA_TYPES["JPEG"] and getattr(image, "n_frames", 1) > 1:
        raise UnusableImage("animated_image", "is animated; take one picture of it")
    if image.mode not in EXACT_MODES:
        shown = MODES_IN_WORDS.get(image.mode, f"of the kind {image.mode}")
        raise UnusableImage("unsupported_image_mode", f"is {shown}; convert it to RGB or RGBA")


def _too_many_pixels() -> UnusableImage:
    return UnusableImage("image_too_large", f"has more than {MAX_PIXELS:,} pixels; make the image smaller")
