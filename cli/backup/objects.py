"""The objects in the folder of backups. Each content is kept once, in a file that is named by its SHA-256.

A key is written once and never again, so an object that is there need not be read again.
"""

import hashlib
import os
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from core.storage.object_store import ObjectStore

TABLES = """
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, seen_at TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS objects_by_sha256 ON objects (sha256);
CREATE TABLE IF NOT EXISTS points (at TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS home_files (
    at TEXT NOT NULL, name TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (at, name)
);
"""
KEEP = "INSERT INTO objects VALUES (?, ?, ?, ?)"


@dataclass
class Copied:
    """What a pass over the objects has done: `gone` are missing, `damaged` have another hash."""

    objects: int = 0
    bytes: int = 0
    kept: int = 0
    gone: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


class Objects:
    """The objects of all backups in a folder. Times are those of the database, in UTC."""

    def __init__(self, folder: Path, index: sqlite3.Connection) -> None:
        self._contents, self._index = folder / "objects", index

    @classmethod
    @contextmanager
    def at(cls, folder: Path) -> "Iterator[Objects]":
        with closing(sqlite3.connect(folder / "objects.sqlite")) as index:
            index.executescript(TABLES)
            yield cls(folder, index)

    def points(self) -> list[datetime]:
        """Return the times of all backups, the oldest first."""
        rows = self._index.execute("SELECT at FROM points ORDER BY at")
        return [datetime.fromisoformat(at) for (at,) in rows]

    def copy(
        self, store: ObjectStore, belongs: Callable[[str], bool], hashes: dict[str, str], at: datetime
    ) -> Copied:
        """Copy the objects that belong to the ledger and are not there yet.

        `gone` are those that rows name and that neither the store nor the folder has. An object that was
        copied stays copied if the pass breaks off.
        """
        done, listed = Copied(), set()
        known = dict(self._index.execute("SELECT key, bytes FROM objects"))
        for key, size in store.sizes(""):
            listed.add(key)
            if not belongs(key):
                continue
            if known.get(key) == size:
                self._see(key, at, done)
            else:
                self._copy(store, key, hashes.get(key), at, done)
        for key in sorted(hashes.keys() - listed):
            if key in known:
                self._see(key, at, done)
            else:
                done.gone.append(key)
        self._index.commit()
        return done

    def note(self, at: datetime, home_files: dict[str, str]) -> None:
        """Note that all that the database of this time needs is in the folder, and keep the home's files."""
        self._index.execute("INSERT INTO points VALUES (?)", (at.isoformat(),))
        rows = [(at.isoformat(), name, content) for name, content in home_files.items()]
        self._index.executemany("INSERT INTO home_files VALUES (?, ?, ?)", rows)
        self._index.commit()

    def home_files(self, at: datetime) -> dict[str, str]:
        """Return the small files of the last point until this time, by their names."""
        query = "SELECT name, content FROM home_files WHERE at = (SELECT max(at) FROM points WHERE at <= ?)"
        return dict(self._index.execute(query, (at.isoformat(),)))

    def expire(self, before: datetime) -> None:
        """Remove the points and contents that no restore to this time or a later one needs."""
        points = [at for at in self.points() if at < before]
        if not points:
            return
        oldest = max(points).isoformat()  # restores reach back from later backups to this one
        self._index.execute("DELETE FROM points WHERE at < ?", (oldest,))
        self._index.execute("DELETE FROM home_files WHERE at < ?", (oldest,))
        self._index.execute("DELETE FROM objects WHERE seen_at < ?", (oldest,))
        self._index.commit()
        needed = {sha256 for (sha256,) in self._index.execute("SELECT DISTINCT sha256 FROM objects")}
        for path in (*self._contents.glob("*/*"), *self._contents.glob("new-*")):
            if path.name not in needed:
                path.unlink()

    def put_back(self, store: ObjectStore, belongs: Callable[[str], bool], hashes: dict[str, str]) -> Copied:
        """Send the objects of the ledger to the store, except those that it has.

        `gone` are those that rows name and that neither the folder nor the store has.
        """
        done, stored = Copied(), dict(store.sizes(""))
        rows = self._index.execute("SELECT key, bytes, sha256 FROM objects").fetchall()
        for key, size, sha256 in rows:
            if not belongs(key):
                continue
            if stored.get(key) == size:
                done.kept += 1
            elif hashes.get(key, sha256) != sha256 or not self._is_whole(sha256):
                done.damaged.append(key)
            else:
                store.put_file(key, self._path(sha256))
                done.objects, done.bytes = done.objects + 1, done.bytes + size
        done.gone = sorted(hashes.keys() - stored.keys() - {key for key, _, _ in rows})
        return done

    def _see(self, key: str, at: datetime, done: Copied) -> None:
        self._index.execute("UPDATE objects SET seen_at = ? WHERE key = ?", (at.isoformat(), key))
        done.kept += 1

    def _copy(self, store: ObjectStore, key: str, named: str | None, at: datetime, done: Copied) -> None:
        self._contents.mkdir(mode=0o700, exist_ok=True)
        try:
            chunks = store.read(key)
        except FileNotFoundError:
            done.gone.append(key)
            return
        draft = self._contents / f"new-{secrets.token_hex(8)}"
        try:
            size, sha256 = _write(draft, chunks)
            if named not in (None, sha256):
                done.damaged.append(key)
                return
            self._path(sha256).parent.mkdir(mode=0o700, exist_ok=True)
            draft.replace(self._path(sha256))
        finally:
            draft.unlink(missing_ok=True)
        self._index.execute("DELETE FROM objects WHERE key = ?", (key,))
        self._index.execute(KEEP, (key, size, sha256, at.isoformat()))
        self._index.commit()
        done.objects, done.bytes = done.objects + 1, done.bytes + size

    def _path(self, sha256: str) -> Path:
        return self._contents / sha256[:2] / sha256

    def _is_whole(self, sha256: str) -> bool:
        try:
            with self._path(sha256).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            return False


def _write(path: Path, chunks: Iterable[bytes]) -> tuple[int, str]:
    """Write a file that a failure of the power leaves whole. Return its size and its SHA-256."""
    digest, size = hashlib.sha256(), 0
    with path.open("wb") as file:
        for chunk in chunks:
            digest.update(chunk)
            size += file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()
