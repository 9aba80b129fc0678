"""Stored folders as a zip while it is written: nothing but the chunk at hand is in memory."""

import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime

from core.errors import NotFound
from core.storage.object_store import ObjectStore


def stored_folder(store: ObjectStore, prefix: str, names: Sequence[str]) -> Callable[[str], Iterator[bytes]]:
    """What reads a file of the folder by its name. Raises NotFound where one of them is missing."""
    stored = set(store.list(prefix))
    missing = [name for name in names if prefix + name not in stored]
    if missing:
        raise NotFound(f"The bytes of {', '.join(missing)} are no longer stored.", code="content_missing")
    return lambda name: store.read(prefix + name)


def zipped(members: Iterable[tuple[str, Iterable[bytes]]], created_at: datetime) -> Iterator[bytes]:
    """The members, stored as they are: weights do not deflate."""
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
    """The unseekable file that `zipfile` writes to; what it wrote is taken away after every chunk."""

    def __init__(self) -> None:
        self._pending = bytearray()

    def write(self, data: bytes) -> int:
        self._pending += data
        return len(data)

    def flush(self) -> None:
        pass

    def take(self) -> bytes:
        taken = bytes(self._pending)
        self._pending.clear()
        return taken
