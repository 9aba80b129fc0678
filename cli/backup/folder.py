"""The folder of backups: whose backups it holds, and who may use it now.

A folder holds the backups of one service. Both have the same mark: the folder in its file `service`, the
state folder of `tunery up` in its file `backups`, with the folder's path. A restored state folder has no
mark, so it never writes to the folder from which it came.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.private_files import write_private
from core.errors import ConfigurationError

OTHERS = 0o077


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Let one command at a time use the folder. Raises ConfigurationError if another one uses it."""
    check(folder)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(f"Another backup or restore uses {folder}. Wait until it ends") from None
        yield
    finally:
        os.close(descriptor)


def check(folder: Path) -> None:
    """Raise ConfigurationError if the folder is missing, or if others can look into it."""
    if not folder.is_dir():
        raise ConfigurationError(
            f"The folder of backups, {folder}, does not exist. If it is on another disk, mount the disk. "
            f"Otherwise make it: install -d -m 700 {folder}"
        )
    if folder.stat().st_mode & OTHERS:
        raise ConfigurationError(
            f"Other users can look into {folder}, which holds passwords and keys: chmod 700 {folder}"
        )


def claim_for_home(folder: Path, home: Path) -> None:
    """Mark a new folder as that of this home. Raises ConfigurationError if it is not the home's."""
    check(folder)
    found, (known, path) = _read(folder / "service"), _known(home)
    if found == known != "":
        if path != str(folder):
            write_private(home / "backups", f"{known} {folder}")
        return
    if found:
        raise ConfigurationError(
            f"{folder} holds the backups of another service, or of the one that {home} was restored from. "
            "Set TUNERY_BACKUP_FOLDER to a new, empty folder"
        )
    if path == str(folder):
        raise ConfigurationError(
            f"{folder} held the backups of {home}, and now it is empty. If it is on another disk, mount the "
            f"disk. To begin anew, remove {home / 'backups'}"
        )
    mark = secrets.token_hex(16)
    write_private(folder / "service", mark)
    write_private(home / "backups", f"{mark} {folder}")


def claim_for_bucket(folder: Path, bucket: str) -> None:
    """Mark a new folder as that of external servers with this bucket. Raises ConfigurationError."""
    check(folder)
    mark = f"bucket {bucket}"
    if (found := _read(folder / "service")) not in ("", mark):
        raise ConfigurationError(
            f"{folder} holds the backups of another service. Set TUNERY_BACKUP_FOLDER to a new, empty folder"
        )
    if not found:
        write_private(folder / "service", mark)


def _known(home: Path) -> tuple[str, str]:
    mark, _, path = _read(home / "backups").partition(" ")
    return mark, path


def _read(path: Path) -> str:
    return path.read_text("utf-8").strip() if path.exists() else ""
