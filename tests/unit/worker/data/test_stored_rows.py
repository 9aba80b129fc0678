"""Reading a stored dataset: a job trains only on the content that was uploaded."""

import hashlib
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.errors import JobError
from core.tables import File
from tests.fixtures.api import dataset
from worker.data.reader import stored_rows

UPLOADED = dataset(12)
FILE = File(id="file-1", object_key="files/file-1", sha256=hashlib.sha256(UPLOADED).hexdigest())


def rows_of(content: bytes | None) -> list[tuple[int, dict[str, Any]]]:
    def read(key: str) -> Iterator[bytes]:
        if content is None:
            raise FileNotFoundError(key)
        return (content[start : start + 50] for start in range(0, len(content), 50))

    return list(stored_rows(cast(Any, SimpleNamespace(read=read)), FILE, "training_file"))


def test_every_row_comes_with_its_line() -> None:
    rows = rows_of(UPLOADED)
    assert [line for line, _ in rows] == list(range(1, 13))
    assert rows[3][1]["messages"][-1]["content"] == "answer 3"


@pytest.mark.parametrize(
    "content",
    [UPLOADED.replace(b"answer 7", b"answer 8"), UPLOADED[:-5], dataset(11), b""],
    ids=["another text", "cut within a row", "cut after a row", "empty"],
)
def test_content_that_is_not_what_was_uploaded_fails_the_job(content: bytes) -> None:
    with pytest.raises(JobError, match="file-1 is not what was uploaded") as raised:
        rows_of(content)
    assert (raised.value.code, raised.value.param) == ("damaged_file", "training_file")


def test_content_that_is_gone_fails_the_job() -> None:
    with pytest.raises(JobError, match="is gone") as raised:
        rows_of(None)
    assert raised.value.code == "file_not_found"
