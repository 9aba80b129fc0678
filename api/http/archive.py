"""Makes a zip of a stored folder while the client reads it. Only one chunk is in memory at a time."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from core.errors import NotFound
from core.storage.folders import object_key
from core.storage.object_store import ObjectStore


def stored_folder(
    store: ObjectStore, prefix: str, files: Sequence[Mapping[str, Any]]
) -> Callable[[str], Iterator[bytes]]:
    """Return a function that reads a file of the folder, given its name.

    Raises NotFound if one of the `files` is missing.
    """
    keys = {entry["name"]: object_key(prefix, entry) for entry in files}
    stored = set(store.list(prefix))
    missing = [name for name, key in keys.items() if key not in stored and key not in store.list(key)]
    if missing:
        raise NotFound(f"The content of {', '.join(missing)} is no longer stored.", code="content_missing")
    return lambda name: store.read(keys[name])


def zipped(members: Iterable[tuple[str, Iterable[bytes]]], created_at: datetime) -> Iterator[bytes]:
    """Yield the zip of the members. They are not compressed, as weights would not become smaller."""
    out = _Outbox()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        for name, chunks in members:
            info = zipfile.ZipInfo(name, created_at.timetuple()[:6])
            info.external_attr = 0o644 << 16
            with archive.open(info, "w", force_zip64=True) as entry:
                for chunk in chunks:
                    entry.write(chunk)
                    yield out.take()
    yield out.take()


class _Outbox:
    """The file that `zipfile` writes to. It cannot seek, and `take` empties it after every chunk."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def write(self, data: bytes) -> int:
        self._pending += data
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        """Return the bytes that were written since the last call."""
        taken = bytes(self._pending)
        self._pending.clear()
        return taken
