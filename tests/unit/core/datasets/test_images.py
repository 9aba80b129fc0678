"""The rules of images in rows: which part, field and reason an error names."""

import json
from typing import Any

import pytest

from core.datasets.check import DatasetCheck, Report
from core.datasets.images import ImageCheck
from core.images.parts import MAX_IN_ROW, UnusableImage
from tests.fixtures.rows.images import about, data_url, image_part, question

ANSWER = {"role": "assistant", "content": "A gradient."}


def checked(*rows: Any, images: ImageCheck | None = None, max_row_bytes: int = 100_000) -> Report:
    check = DatasetCheck(max_row_bytes, images=images)
    check.feed(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return check.finish()


def found(*rows: Any, images: ImageCheck | None = None) -> list[tuple[str, str]]:
    return [(finding.field, finding.code) for finding in checked(*rows, images=images).findings]


@pytest.mark.parametrize(
    "row",
    [
        about(image_part()),
        about(image_part(detail="low"), image_part(detail=None)),
        about(*[image_part()] * MAX_IN_ROW),
        {"messages": [{"role": "user", "content": [image_part()]}, ANSWER]},
        {"messages": [question(image_part())], "label": 1},
        {
            "input": {"messages": [question(image_part())]},
            "preferred_output": [ANSWER],
            "non_preferred_output": [ANSWER],
        },
        {"prompt": [question(image_part())], "completion": [ANSWER], "label": True},
    ],
)
def test_users_may_send_images_in_rows_of_every_kind(row: dict[str, Any]) -> None:
    report = checked(row)
    assert (report.findings, report.needs) == ([], {"images": 1})


@pytest.mark.parametrize(
    ("message", "field", "code"),
    [
        ({"role": "system", "content": [image_part()]}, "", "misplaced_image"),
        (question({"type": "image_url"}), ".image_url", "wrong_type"),
        (question({"type": "image_url", "image_url": "data:…"}), ".image_url", "wrong_type"),
        (question({"type": "image_url", "image_url": {}}), ".image_url.url", "wrong_type"),
        (question(image_part(detail="medium")), ".image_url.detail", "invalid_detail"),
        (question(image_part(size=3)), ".image_url", "unknown_key"),
        (question({**image_part(), "text": "a"}), "", "unknown_key"),
        (question(image_part("https://example.com/a.png")), ".image_url.url", "invalid_image_url"),
        (question(image_part("file:///etc/passwd")), ".image_url.url", "invalid_image_url"),
        (question(image_part(data_url(b"a", "image/gif"))), ".image_url.url", "unsupported_image"),
    ],
)
def test_each_mistake_is_named_by_its_field(message: dict[str, Any], field: str, code: str) -> None:
    assert found({"messages": [message, ANSWER]}) == [(f"messages[0].content[0]{field}", code)]


def test_the_assistant_sends_no_images() -> None:
    row = {"messages": [question(), {"role": "assistant", "content": [image_part()]}]}
    assert found(row) == [("messages[1].content[0]", "misplaced_image")]


def test_a_row_has_ten_images_at_most() -> None:
    row = about(*[image_part()] * (MAX_IN_ROW + 2))
    (finding,) = checked(row).findings
    assert (finding.field, finding.code) == ("messages[0].content[10].image_url.url", "too_many_images")
    assert finding.message == "the row has 12 images, more than 10; split the row"


def test_an_image_that_cannot_be_decoded_is_named_by_line_and_field() -> None:
    def look(url: str) -> None:
        if url.endswith("BBBB"):
            raise UnusableImage("damaged_image", "cannot be decoded")

    good, bad = (image_part(data_url(b"") + letters) for letters in ("AAAA", "BBBB"))
    rows = about(good), about(good, bad), about(good)
    (finding,) = checked(*rows, images=ImageCheck(look, 10_000)).findings
    assert finding == (2, "messages[0].content[1].image_url.url", "damaged_image", "cannot be decoded")


def test_bytes_of_images_are_counted_apart_from_those_of_the_row() -> None:
    row = about(image_part(data_url(bytes(9000))))
    images = ImageCheck(lambda _: None, 20_000)
    assert checked(row, images=images, max_row_bytes=1000).findings == []
    assert checked({**row, "note": "a" * 1000}, images=images, max_row_bytes=1000).findings[0].code == (
        "row_too_long"
    )
    assert checked(row, images=ImageCheck(lambda _: None, 10_000), max_row_bytes=1000).findings[0].code == (
        "row_too_long"
    )
    escaped = json.dumps(about(image_part(data_url(b"\xff" * 9000)))).replace("/", "\\/")
    check = DatasetCheck(1000, images=ImageCheck(lambda _: None, 30_000))
    check.feed(escaped.encode())
    assert check.finish().findings == []
