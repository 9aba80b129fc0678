"""Fetching a stored dataset: a job trains only on the content that was uploaded."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from core.errors import JobError, LeaseLost, OutsideFault
from core.tables import File
from tests.fixtures.service.api import dataset
from worker.rendering.stored_file import fetch

UPLOADED = dataset(12)


def fetched(content: bytes | None, folder: Path, size: int = len(UPLOADED), allowed: int = 1000) -> bytes:
    """Fetch `content`, in place of what was uploaded. The job leaves after `allowed` chunks."""
    asked = iter(range(allowed))

    def read(key: str) -> Iterator[bytes]:
        if content is None:
            raise FileNotFoundError(key)
        return (content[start : start + 50] for start in range(0, len(content), 50))

    def stop_if_closed() -> None:
        if next(asked, None) is None:
            raise LeaseLost("gone")

    sha256 = hashlib.sha256(UPLOADED).hexdigest()
    file = File(id="file-1", object_key="files/file-1", bytes=size, sha256=sha256)
    store = cast(Any, SimpleNamespace(read=read))
    with fetch(store, file, "training_file", folder, stop_if_closed) as found:
        found.seek(0)
        return found.readall()


def test_the_content_lies_in_a_file_without_a_name(tmp_path: Path) -> None:
    assert fetched(UPLOADED, tmp_path) == UPLOADED
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [UPLOADED.replace(b"answer 7", b"answer 8"), UPLOADED[:-5], dataset(11), b""],
    ids=["another text", "cut within a row", "cut after a row", "empty"],
)
def test_content_that_is_not_what_was_uploaded_fails_the_job(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(JobError, match="file-1 is not what was uploaded") as raised:
        fetched(content, tmp_path)
    assert (raised.value.code, raised.value.param) == ("damaged_file", "training_file")


def test_content_that_is_gone_fails_the_job(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="is gone") as raised:
        fetched(None, tmp_path)
    assert raised.value.code == "file_not_found"


def test_a_file_is_not_fetched_to_its_end_once_its_job_has_left(tmp_path: Path) -> None:
    with pytest.raises(LeaseLost):
        fetched(UPLOADED, tmp_path, allowed=3)


def test_a_file_for_which_the_disk_has_no_room_is_the_disk_s_fault(tmp_path: Path) -> None:
    with pytest.raises(OutsideFault, match="disk is too full to read the training file"):
        fetched(UPLOADED, tmp_path, size=2**60)
