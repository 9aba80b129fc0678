"""Images that nobody has checked: what is read of the good ones, and how each kind of bad one is refused."""

import struct
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from core.images.decoding import MAX_PIXELS, ImageFacts, facts_of, pixels_of
from core.images.parts import MAX_BYTES, MEDIA_TYPES, UnusableImage, encoded_image
from tests.fixtures.rows.images import data_url, encoded, picture

FORMATS = tuple(MEDIA_TYPES)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of_size(width: int, height: int, *more: bytes) -> bytes:
    """Return a PNG that says it has this size, and has hardly any pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    ends = chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b"")
    return b"".join((b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), *more, *ends))


def refused(content: bytes, media_type: str | None = None) -> UnusableImage:
    with pytest.raises(UnusableImage) as caught:
        facts_of(content, media_type)
    return caught.value


@pytest.mark.parametrize("form", FORMATS)
def test_an_image_of_each_format_is_read(form: str) -> None:
    assert facts_of(encoded(picture(), form), MEDIA_TYPES[form]) == (MEDIA_TYPES[form], 64, 48)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_what_has_an_exact_form_in_colours_is_taken(mode: str) -> None:
    image = picture().convert(mode)
    taken = pixels_of(encoded(image, "PNG"))
    assert taken.mode == ("RGBA" if mode in ("RGBA", "LA") else "RGB")
    assert taken.tobytes() == image.convert(taken.mode).tobytes()


def test_a_photo_is_turned_upright() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held on its side
    content = encoded(picture(), "JPEG", exif=turned)
    assert facts_of(content) == ImageFacts("image/jpeg", 48, 64)


def test_of_a_photo_with_two_views_the_first_is_taken() -> None:
    views = [picture(), picture()]
    content = encoded(views[0], "MPO", save_all=True, append_images=views[1:])
    assert facts_of(content, "image/jpeg") == ("image/jpeg", 64, 48)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_file_that_is_cut_off_is_refused(form: str, share: float) -> None:
    content = encoded(picture(), form)
    assert refused(content[: int(len(content) * share)]).code in ("damaged_image", "unsupported_image")


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "unsupported_image", "is no JPEG, PNG or WEBP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unsupported_image", "convert it"),
        (b"%PDF-1.7\n", "unsupported_image", "convert it"),
        (encoded(picture().convert("CMYK"), "JPEG"), "unsupported_image_mode", "CMYK"),
        (encoded(picture().convert("I;16"), "PNG"), "unsupported_image_mode", "convert it to RGB"),
        (png_of_size(30_000, 30_000), "image_too_large", f"more than {MAX_PIXELS:,} pixels"),
        (png_of_size(2**31 - 1, 2**31 - 1), "image_too_large", "pixels"),
        (png_of_size(40_000, 10), "image_too_narrow", "40000 × 10"),
        (png_of_size(64, 64), "damaged_image", "cut off or damaged"),
        (png_of_size(0, 0), "unsupported_image", "is no JPEG, PNG or WEBP"),
        (png_of_size(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))), "damaged_image", ""),
        (png_of_size(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8)))), "damaged_image", ""),
        (encoded(picture(), "PNG") + bytes(MAX_BYTES), "image_too_large", f"{MAX_BYTES:,} bytes"),
        *((encoded(picture(), form), "unsupported_image", "convert it") for form in ("GIF", "BMP", "TIFF")),
    ],
    ids=lambda value: value if isinstance(value, str) else "image",
)
def test_each_kind_of_bad_image_is_refused_by_its_reason(content: bytes, code: str, words: str) -> None:
    refusal = refused(content)
    assert refusal.code == code
    assert words in str(refusal)


@pytest.mark.parametrize("form", ["PNG", "WEBP"])
def test_an_animation_is_refused(form: str) -> None:
    other = picture().rotate(90)
    content = encoded(picture(), form, save_all=True, append_images=[other])
    assert refused(content).code == "animated_image"


def test_an_image_of_another_type_than_its_url_says_is_refused() -> None:
    refusal = refused(encoded(picture(), "JPEG"), "image/png")
    assert (refusal.code, str(refusal)) == (
        "wrong_image_type",
        "says image/png, but the image is image/jpeg; say image/jpeg",
    )


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FORMATS), st.data())
def test_no_damage_raises_anything_else(form: str, data: Any) -> None:
    content = bytearray(encoded(picture(), form))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), max_size=8)):
        content[at] = data.draw(st.integers(0, 255))
    with suppress(UnusableImage):
        assert facts_of(bytes(content)).media_type in MEDIA_TYPES.values()


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("", "invalid_image_url"),
        ("data:,hello", "invalid_image_url"),
        ("data:image/png,abc", "invalid_image_url"),
        ("data:image/png;base64,a$b", "invalid_image_url"),
        ("data:image/png;base64,abc", "invalid_image_url"),
        ("data:image/png;base64,é", "invalid_image_url"),
        ("data:image/gif;base64,R0lGODlh", "unsupported_image"),
        (data_url(bytes(MAX_BYTES + 1), "image/png"), "image_too_large"),
    ],
)
def test_a_url_without_an_image_is_refused(url: str, code: str) -> None:
    with pytest.raises(UnusableImage) as caught:
        encoded_image(url)
    assert caught.value.code == code


def test_the_bytes_of_a_url_are_the_image() -> None:
    content = encoded(picture(), "PNG")
    assert encoded_image(data_url(content, "image/PNG")) == ("image/PNG", content)
    assert encoded_image(data_url(bytes(MAX_BYTES), "image/png")).content == bytes(MAX_BYTES)
