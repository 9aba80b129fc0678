"""Records name the images of a row: the same image has the same name, and nothing else changes."""

from hashlib import sha256
from typing import Any

import pytest

from tests.fixtures.rows.images import data_url, encoded, picture, question
from worker.grading.named_images import with_named_images

CONTENT = encoded(picture())
URL = data_url(CONTENT)
NAME = f"image/png, sha256 {sha256(CONTENT).hexdigest()}"


def test_each_image_is_named_wherever_it_stands() -> None:
    row = {"image": URL, "text": f"See {URL}!", "messages": [question({"type": "image_url", "url": URL})]}
    named = with_named_images(row)
    assert named["image"] == NAME
    assert named["text"] == f"See {NAME}!"
    assert named["messages"][0]["content"][0]["url"] == NAME
    assert row["image"] == URL


@pytest.mark.parametrize("url", [URL[:-21], "data:image/gif;base64,R0lGODdh", "DATA:image/PNG;base64,AAAA"])
def test_a_damaged_image_and_one_of_another_type_are_named_too(url: str) -> None:
    assert ", sha256 " in with_named_images(url)


@pytest.mark.parametrize(
    "value",
    [None, 1, True, 0.5, "a text", "data:text/plain;base64,AAAA", "https://example.com/a.png", [], {}],
)
def test_all_else_stays_as_it_is(value: Any) -> None:
    assert with_named_images({"a": [value]}) == {"a": [value]}
