"""Folders in the object store: a file is read as it was published, or an error is raised."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from core.errors import OutsideFault
from core.storage.file_names import DamagedFile
from core.storage.folders import fetch_folder, publish_folder
from core.storage.object_store import Moved


class DamagingStore:
    """A store that damages files.

    It keeps only half of the first `damages` uploads, and returns only half at the first `slips` reads.
    """

    def __init__(self, damages: int) -> None:
        self.sent: list[str] = []
        self.objects: dict[str, bytes] = {}
        self.slips = 0
        self._damages = damages

    def put_file(self, key: str, path: Path, sent: Moved | None = None) -> None:
        content = path.read_bytes()
        if sent:
            sent(len(content))
        self.sent.append(key)
        self.objects[key] = content[: len(content) // 2] if self._damages > 0 else content
        self._damages -= 1

    def copy(self, source: str, key: str) -> None:
        if source not in self.objects:
            raise FileNotFoundError(source)
        self.objects[key] = self.objects[source]

    def read(self, key: str) -> Iterator[bytes]:
        content = self.objects[key]
        yield content[: len(content) // 2] if self.slips > 0 else content
        self.slips -= 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "weights").write_bytes(b"weights")
    (tmp_path / "config").write_bytes(b"config")
    return tmp_path


def test_a_file_that_was_damaged_on_its_way_is_sent_again(folder: Path) -> None:
    store = DamagingStore(damages=1)
    publish_folder(cast(Any, store), folder, "a/")
    assert store.objects == {"a/config": b"config", "a/weights": b"weights"}


def test_a_file_that_the_store_has_is_copied_there_and_sent_only_if_the_copy_is_not_the_same(
    folder: Path,
) -> None:
    store = DamagingStore(damages=0)
    hashes = {file["name"]: file["sha256"] for file in publish_folder(cast(Any, store), folder, "a/")}
    there = {hashes["config"]: "a/config", hashes["weights"]: "a/weights"}
    del store.sent[:], store.objects["a/config"]
    publish_folder(cast(Any, store), folder, "b/", there)
    assert store.sent == ["b/config"]
    store.objects["a/weights"] = b"something else"
    publish_folder(cast(Any, store), folder, "c/", there | {hashes["config"]: "b/config"})
    assert store.sent == ["b/config", "c/weights"]
    assert {key: store.objects[key] for key in ("b/weights", "c/config", "c/weights")} == {
        "b/weights": b"weights", "c/config": b"config", "c/weights": b"weights"
    }  # fmt: skip


def test_each_byte_that_is_sent_read_back_or_fetched_is_told(folder: Path, tmp_path: Path) -> None:
    store = DamagingStore(damages=0)
    moved: list[int] = []
    files = publish_folder(cast(Any, store), folder, "a/", moved=moved.append)
    size = sum(file["bytes"] for file in files)
    assert sum(moved) == 2 * size
    fetch_folder(cast(Any, store), "a/", files, tmp_path / "fetched", moved.append)
    assert sum(moved) == 3 * size


def test_a_store_that_damages_a_file_twice_is_at_fault_and_not_the_job(folder: Path) -> None:
    with pytest.raises(OutsideFault, match="did not keep what was sent: config"):
        publish_folder(cast(Any, DamagingStore(damages=2)), folder, "a/")


def test_a_file_that_was_damaged_once_as_it_was_read_is_read_again(folder: Path, tmp_path: Path) -> None:
    store = DamagingStore(damages=0)
    files = publish_folder(cast(Any, store), folder, "a/")
    store.slips = 1
    fetch_folder(cast(Any, store), "a/", files, tmp_path / "fetched")
    assert (tmp_path / "fetched" / "weights").read_bytes() == b"weights"
    assert (tmp_path / "fetched" / "config").read_bytes() == b"config"
    store.slips = 2
    with pytest.raises(DamagedFile, match="config"):
        fetch_folder(cast(Any, store), "a/", files, tmp_path / "fetched")
