"""The folder of backups, with a store that is a dictionary."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cli.backup.folder import alone_in, claim_for_bucket, claim_for_home
from cli.backup.objects import Copied, Objects
from core.errors import ConfigurationError
from core.storage.object_store import ObjectStore

NOW = datetime(2026, 12, 1, 20, 30, tzinfo=UTC)
LATER = NOW + timedelta(minutes=15)


class Bucket(ObjectStore):
    """Objects in memory. Reading one of them may break."""

    def __init__(self, **contents: bytes) -> None:
        self.contents, self.breaks = contents, ""

    def sizes(self, prefix: str) -> Iterator[tuple[str, int]]:
        yield from (
            (key, len(content)) for key, content in sorted(self.contents.items()) if key.startswith(prefix)
        )

    def read(self, key: str, part: range | None = None) -> Iterator[bytes]:
        assert part is None
        if key == self.breaks:
            raise ConnectionError(key)
        return iter([self.contents[key]])

    def put_file(self, key: str, path: Path, sent: object = None) -> None:
        assert sent is None
        self.contents[key] = path.read_bytes()

    def hashes(self) -> dict[str, str]:
        return {key: hashlib.sha256(content).hexdigest() for key, content in self.contents.items()}


def everything(_key: str) -> bool:
    return True


def copy(objects: Objects, bucket: Bucket, hashes: dict[str, str], at: datetime = NOW) -> Copied:
    return objects.copy(bucket, everything, hashes, at)


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Objects]:
    with Objects.at(tmp_path) as objects:
        yield objects


def test_what_rows_name_and_the_store_lacks_is_gone_unless_it_was_copied_before(objects: Objects) -> None:
    bucket = Bucket(a=b"one", b=b"two")
    named = bucket.hashes()
    del bucket.contents["b"]
    assert copy(objects, bucket, named).gone == ["b"]
    bucket.contents["b"] = b"two"
    assert copy(objects, bucket, named).gone == []
    del bucket.contents["b"]
    assert copy(objects, bucket, named, LATER).gone == []
    objects.note(NOW, {})
    objects.note(LATER, {})
    objects.expire(LATER + timedelta(seconds=1))
    assert objects.points() == [LATER]
    assert objects.put_back(bucket, everything, named).objects == 1, "the last backup needs it"
    assert bucket.contents["b"] == b"two"


def test_a_pass_that_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    bucket = Bucket(a=b"one", b=b"two")
    bucket.breaks = "b"
    with Objects.at(tmp_path) as objects, pytest.raises(ConnectionError):
        copy(objects, bucket, bucket.hashes())
    bucket.breaks = ""
    with Objects.at(tmp_path) as objects:
        done = copy(objects, bucket, bucket.hashes())
    assert (done.objects, done.kept) == (1, 1)


def test_an_object_with_another_hash_is_damaged_and_leaves_nothing(objects: Objects, tmp_path: Path) -> None:
    bucket = Bucket(a=b"one")
    assert copy(objects, bucket, {"a": "0" * 64}).damaged == ["a"]
    assert list((tmp_path / "objects").iterdir()) == []


def test_a_damaged_content_is_not_sent_back(objects: Objects, tmp_path: Path) -> None:
    bucket = Bucket(a=b"one")
    copy(objects, bucket, named := bucket.hashes())
    (tmp_path / "objects" / named["a"][:2] / named["a"]).write_bytes(b"ono")
    done = objects.put_back(empty := Bucket(), everything, named)
    assert (done.damaged, empty.contents) == (["a"], {})


def test_a_content_stays_while_a_point_that_is_kept_needs_it(objects: Objects, tmp_path: Path) -> None:
    bucket = Bucket(a=b"one", b=b"two")
    copy(objects, bucket, named := bucket.hashes())
    objects.note(NOW, {"secret-keys": "old"})
    del bucket.contents["a"]
    copy(objects, bucket, bucket.hashes(), LATER)
    objects.note(LATER, {"secret-keys": "new"})
    objects.expire(LATER)
    assert objects.home_files(NOW) == {"secret-keys": "old"}
    assert objects.put_back(Bucket(), everything, named).objects == 2
    objects.expire(LATER + timedelta(days=1))
    assert [path.name for path in (tmp_path / "objects").glob("*/*")] == [named["b"]]
    assert (objects.home_files(NOW), objects.home_files(LATER)) == ({}, {"secret-keys": "new"})


def test_a_second_command_is_refused_while_the_first_uses_the_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    second = alone_in(tmp_path)
    with alone_in(tmp_path), pytest.raises(ConfigurationError, match="Wait until it ends"):
        second.__enter__()
    with alone_in(tmp_path):
        pass


def test_a_folder_that_is_missing_or_open_to_others_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o750)
    with pytest.raises(ConfigurationError, match="chmod 700"), alone_in(tmp_path):
        pass
    with pytest.raises(ConfigurationError, match="mount the disk"), alone_in(tmp_path / "nothing"):
        pass


def test_a_folder_holds_the_backups_of_one_service(tmp_path: Path) -> None:
    folders = {name: tmp_path / name for name in ("one", "two", "home", "restored")}
    for folder in folders.values():
        folder.mkdir(mode=0o700)
    claim_for_home(folders["one"], folders["home"])
    claim_for_home(folders["one"], folders["home"])
    with pytest.raises(ConfigurationError, match="new, empty folder"):
        claim_for_home(folders["one"], folders["restored"])
    with pytest.raises(ConfigurationError, match="new, empty folder"):
        claim_for_bucket(folders["one"], "tunery")
    claim_for_home(folders["two"], folders["restored"])
    claim_for_home(folders["two"], folders["restored"])


def test_a_folder_that_lost_its_mark_is_not_begun_anew(tmp_path: Path) -> None:
    """The disk is not mounted."""
    (folder := tmp_path / "folder").mkdir(mode=0o700)
    (home := tmp_path / "home").mkdir()
    claim_for_home(folder, home)
    folder = folder.rename(tmp_path / "moved")
    claim_for_home(folder, home)
    (folder / "service").unlink()
    with pytest.raises(ConfigurationError, match="mount the disk"):
        claim_for_home(folder, home)
