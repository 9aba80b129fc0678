"""Unpacks the files of an adapter from a zip that nobody has checked.

Only the wanted files are written, under names of our own, and never more bytes than the limit.
"""

import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from worker.tasks.importing.refusal import refusal, shown

MAX_MEMBERS = 256
MAX_RATIO = 200  # of unpacked to packed bytes, of the whole zip: trained weights hardly shrink
SMALL = 64 * 1024**2  # unpacked bytes that are not a bomb, however well they were packed
CHUNK_BYTES = 1024**2
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def is_torch_archive(path: Path) -> bool:
    """Return whether the file is a zip as `torch.save` writes it. Raises JobError for a wrong zip."""
    with _opened(path) as archive:
        return any(_base_name(name) == "data.pkl" for name in archive.namelist())


def check_members(path: Path, max_bytes: int, most: int = MAX_MEMBERS) -> Sequence[zipfile.ZipInfo]:
    """Return the members that are files. Raises JobError if one is dangerous, or all are too many."""
    with _opened(path) as archive:
        members = archive.infolist()
    if len(members) > most:
        raise refusal(
            "too_many_files",
            f"The zip holds {len(members):,} files; it may hold {most}. Pack only the adapter's files.",
        )
    seen: set[str] = set()
    for member in members:
        _check_member(member)
        if member.filename in seen:
            raise refusal(
                "unsafe_archive", f"The zip holds {shown(member.filename)} twice. Pack each file once."
            )
        seen.add(member.filename)
    _check_size(path, members, max_bytes)
    return [member for member in members if not member.is_dir()]


def unpack(path: Path, wanted: Sequence[str], folder: Path, max_bytes: int) -> list[str]:
    """Write those of the `wanted` files that the zip has into `folder`. Return their names.

    They lie in the zip's top, or all in one folder of it. Raises JobError for a dangerous or wrong zip.
    """
    members = check_members(path, max_bytes)
    places = {_place(member) for member in members if _base_name(member.filename) in wanted}
    if len(places) > 1:
        told = ", ".join(shown(place or "/") for place in sorted(places)[:3])
        raise refusal(
            "invalid_archive", f"The zip holds adapters in several folders: {told}. Import each by itself."
        )
    found = {
        _base_name(member.filename): member
        for member in members
        if _place(member) in places and _base_name(member.filename) in wanted
    }
    with _opened(path) as archive:
        for name, member in found.items():
            _write(archive, member, folder / name, max_bytes)
    return sorted(found)


def _opened(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise refusal(
            "invalid_archive", "The zip is damaged: its directory cannot be read. Pack it again."
        ) from error


def _check_member(member: zipfile.ZipInfo) -> None:
    name = member.orig_filename
    parts = name.replace("\\", "/").split("/")
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.startswith(("/", "\\")) or ".." in parts or ":" in name or "\\" in name or "\0" in name:
        reason = "has a path that leads out of the zip"
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        reason = "is a link or a device, not a file"
    elif member.flag_bits & 1:
        reason = "is encrypted"
    elif member.compress_type not in METHODS:
        reason = "is packed by another method than deflate"
    else:
        return
    raise refusal(
        "unsafe_archive", f"{shown(name)} in the zip {reason}. Pack the adapter's files themselves, plainly."
    )


def _check_size(path: Path, members: Sequence[zipfile.ZipInfo], max_bytes: int) -> None:
    unpacked = sum(member.file_size for member in members)
    if unpacked > max_bytes:
        raise refusal(
            "adapter_too_large",
            f"The zip unpacks to {unpacked:,} bytes; an adapter may have {max_bytes:,} on this server.",
        )
    if unpacked > SMALL and unpacked > MAX_RATIO * path.stat().st_size:
        raise refusal(
            "unsafe_archive",
            f"The zip of {path.stat().st_size:,} bytes unpacks to {unpacked:,}, which no adapter does. Pack "
            "the adapter's files themselves.",
        )


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path, max_bytes: int) -> None:
    written = 0
    try:
        with archive.open(member) as source, path.open("wb") as target:
            while chunk := source.read(CHUNK_BYTES):
                written += len(chunk)
                if written > min(member.file_size, max_bytes):
                    raise refusal(
                        "unsafe_archive",
                        f"{shown(member.filename)} unpacks to more bytes than the zip says. Pack it again.",
                    )
                target.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise refusal(
            "invalid_archive", f"{shown(member.filename)} in the zip is damaged. Pack it again."
        ) from error


def _base_name(name: str) -> str:
    return name.rpartition("/")[2]


def _place(member: zipfile.ZipInfo) -> str:
    return member.filename.rpartition("/")[0]
