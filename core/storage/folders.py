"""Folders in the object store (adapters and checkpoints), whose files have a name, a size and a SHA-256.

A folder is only valid once the database has the list of its files.
A file lies at the folder's prefix, unless its entry in the list has a `key` of its own: such a file has taken
the place of the one that was published.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import OutsideFault
from core.storage.file_names import DamagedFile
from core.storage.object_store import Moved, ObjectStore
from core.tracing import spans


@dataclass(frozen=True)
class FolderFile:
    """One file of a folder. `bytes` is its size; `sha256` is its hash in hexadecimal digits."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FolderFile":
        """Return the description of a local file."""
        with path.open("rb") as file:
            return cls(path.name, path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def object_key(prefix: str, entry: Mapping[str, Any]) -> str:
    """Return the key of a file of a folder, given the folder's prefix and the file's entry in the list."""
    key: str = entry.get("key") or prefix + entry["name"]
    return key


def publish_folder(
    store: ObjectStore,
    folder: Path,
    prefix: str,
    stored: Mapping[str, str] | None = None,
    moved: Moved | None = None,
) -> list[dict[str, Any]]:
    """Upload every file of `folder`, read each one back, and return their list: [{name, bytes, sha256}].

    `stored` has the keys of objects by their SHA-256: the store copies them instead of getting them again. A
    file that reads back differently is uploaded again. `moved` hears of each piece that is sent or read back.
    Raises OutsideFault if a file differs again.
    """
    files = [FolderFile.of(path) for path in sorted(folder.iterdir())]
    with spans.child("store.upload", {"tunery.bytes": sum(file.bytes for file in files)}):
        for file in files:
            try:
                _upload(store, folder, prefix, file, moved, (stored or {}).get(file.sha256))
            except DamagedFile:
                _upload_again(store, folder, prefix, file, moved)
    return [asdict(file) for file in files]


def fetch_folder(
    store: ObjectStore,
    prefix: str,
    files: list[dict[str, Any]],
    folder: Path,
    moved: Moved | None = None,
) -> None:
    """Download `files` into `folder`. A file that is missing or different is downloaded a second time.

    Raises DamagedFile if the second download fails too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with spans.child("store.fetch", {"tunery.bytes": sum(entry["bytes"] for entry in files)}):
        for entry in files:
            key = object_key(prefix, entry)
            file = FolderFile(entry["name"], entry["bytes"], entry["sha256"])
            try:
                _verify(store, key, file, moved, folder)
            except DamagedFile:
                _verify(store, key, file, moved, folder)


def _upload(
    store: ObjectStore,
    folder: Path,
    prefix: str,
    file: FolderFile,
    moved: Moved | None,
    source: str | None = None,
) -> None:
    """Upload the file, or have the store copy it from the key `source`. Raises DamagedFile."""
    if source is None:
        store.put_file(prefix + file.name, folder / file.name, moved)
    else:
        try:
            store.copy(source, prefix + file.name)
        except FileNotFoundError as error:
            raise DamagedFile(f"{source} is missing") from error
    _verify(store, prefix + file.name, file, moved)


def _upload_again(
    store: ObjectStore, folder: Path, prefix: str, file: FolderFile, moved: Moved | None
) -> None:
    try:
        _upload(store, folder, prefix, file, moved)
    except DamagedFile as error:
        raise OutsideFault(f"The object store did not keep what was sent: {error}") from error


def _verify(
    store: ObjectStore, key: str, file: FolderFile, moved: Moved | None, into: Path | None = None
) -> None:
    """Read the object and compare its hash; write the object to the folder `into`, if one is given.

    Raises DamagedFile if the object is missing or its hash differs.
    """
    digest = hashlib.sha256()
    try:
        chunks = store.read(key)
    except FileNotFoundError as error:
        raise DamagedFile(f"{file.name} is missing") from error
    sink = (into / file.name).open("wb") if into else None
    try:
        for chunk in chunks:
            digest.update(chunk)
            if moved:
                moved(len(chunk))
            if sink:
                sink.write(chunk)
    finally:
        if sink:
            sink.close()
    if digest.hexdigest() != file.sha256:
        raise DamagedFile(f"{file.name} is not the file that was published (SHA-256 differs)")
