"""A disk of the API that is full in the middle of an upload: the client is told, and nothing is left."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fixtures.faults.disks import SmallDisk
from tests.fixtures.service.api import Api, refusal

MIB = 1024**2
PART = 8 * MIB  # what waits on the disk before it is sent


@pytest.fixture
def disk(temporary_files_in: Callable[[Path], None], small_disk: Callable[[int], SmallDisk]) -> SmallDisk:
    disk = small_disk(PART + MIB)
    temporary_files_in(disk.folder)
    return disk


@pytest.mark.parametrize("sent", [2 * MIB, PART + MIB], ids=["in its first part", "in its second part"])
def test_an_upload_to_a_full_disk_is_refused_and_leaves_nothing(api: Api, disk: SmallDisk, sent: int) -> None:
    tenant = api.tenant()
    body = b'--x\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n--x\r\n'
    body += b'content-disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'

    def form() -> Iterator[bytes]:
        yield body
        for _ in range(0, sent, MIB):
            yield bytes(MIB)
        disk.fill()
        for _ in range(4):
            yield bytes(MIB)
        yield b"\r\n--x--\r\n"

    before = set(api.store.list("files/"))
    form_type = {"content-type": "multipart/form-data; boundary=x"}
    answer = tenant.http.post("/v1/files", content=form(), headers=form_type)
    error = refusal(answer, 503, None, "unavailable")
    assert "disk is full" in error["message"]
    assert tenant.http.get("/v1/files").json()["data"] == []
    assert set(api.store.list("files/")) == before
    assert api.unfinished_uploads("files/") == []
    disk.empty()
    assert tenant.upload(b"text", "user_data")
