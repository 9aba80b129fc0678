"""Expands gzip and zstd, which are recognised by their first bytes, up to a limit."""

import sys
import zlib
from collections.abc import Iterator
from itertools import chain

from core.datasets.formats.unreadable import Unreadable

if sys.version_info >= (3, 14):
    from compression.zstd import DecompressionParameter, ZstdDecompressor, ZstdError
else:
    from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
PICTURE = "a dataset is text; upload a file of JSON lines"
REFUSED = {
    b"PK\x03\x04": ("a zip archive", "unpack it, and upload what is in it"),
    b"BZh": ("bzip2", "expand it, or use gzip or zstd"),
    b"\xfd7zXZ": ("xz", "expand it, or use gzip or zstd"),
    b"\x89PNG": ("a PNG picture", PICTURE),
    b"\xff\xd8\xff": ("a JPEG picture", PICTURE),
    b"GIF8": ("a GIF picture", PICTURE),
    b"RIFF": ("a WebP picture or a sound", PICTURE),
    b"%PDF-": ("a PDF", "extract its text, and write it as JSON lines"),
}
AT_ONCE = 256 * 1024
GZIP = 16 + zlib.MAX_WBITS
WINDOW: dict[int, int] = {
    DecompressionParameter.window_log_max: 27
}  # 128 MiB, what zstd itself takes without an option
LONGEST_MAGIC = 5
MOST_PARTS = 200_000  # gzip members or zstd frames, which may be empty and so cost time without an end


def compression_of(head: bytes) -> str | None:
    """Return the name of a file's compression, or None. Raises Unreadable for one that is not supported."""
    for magic, (name, advice) in REFUSED.items():
        if head.startswith(magic):
            raise Unreadable("unsupported_format", f"the file is {name}; {advice}")
    return next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


def expanded(chunks: Iterator[bytes], max_bytes: int, most_parts: int = MOST_PARTS) -> Iterator[bytes]:
    """Yield the bytes of a file, expanded if it is compressed.

    Raises Unreadable if it has more than `max_bytes` or `most_parts`, and if it is damaged or cut off.
    """
    head, source = _looked_into(chunks)
    name = compression_of(head)
    found = source if name is None else (_gunzip if name == "gzip" else _unzstd)(source, most_parts)
    if name is not None:
        inner_head, found = _looked_into(found)
        if (inner := compression_of(inner_head)) is not None:
            raise Unreadable(
                "unsupported_format", f"the file is compressed twice, {inner} within {name}; expand it once"
            )
    total = 0
    for chunk in found:
        total += len(chunk)
        if total > max_bytes:
            raise Unreadable(
                "too_large_expanded",
                f"the file expands to more than {max_bytes:,} bytes; split it into several files",
            )
        yield chunk


def _looked_into(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the beginning of the bytes, long enough for each magic number, and all bytes."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= LONGEST_MAGIC:
            break
    return head, chain([head], chunks)


def _gunzip(chunks: Iterator[bytes], most: int) -> Iterator[bytes]:
    """Expand one gzip member after the other, at most AT_ONCE bytes at a time."""
    member, members = zlib.decompressobj(GZIP), 1
    for chunk in chunks:
        data = chunk
        while data:
            if member.eof:
                member, members = zlib.decompressobj(GZIP), _one_more(members, most)
            try:
                yield member.decompress(data, AT_ONCE)
            except zlib.error as error:
                raise _damaged("gzip", error) from error
            data = member.unused_data if member.eof else member.unconsumed_tail
    if not member.eof:
        raise _cut_off("gzip")


def _unzstd(chunks: Iterator[bytes], most: int) -> Iterator[bytes]:
    """Expand one zstd frame after the other, at most AT_ONCE bytes at a time."""
    frame, frames = ZstdDecompressor(options=WINDOW), 1
    for chunk in chunks:
        data = chunk
        while data or not (frame.needs_input or frame.eof):
            if frame.eof:
                frame, frames = ZstdDecompressor(options=WINDOW), _one_more(frames, most)
            try:
                yield frame.decompress(data, AT_ONCE)
            except ZstdError as error:
                raise _damaged("zstd", error) from error
            data = frame.unused_data if frame.eof else b""
    if not frame.eof:
        raise _cut_off("zstd")


def _one_more(parts: int, most: int) -> int:
    """Return the number of parts with another one. Raises Unreadable if they are more than `most`."""
    if parts == most:
        message = f"the file has more than {most:,} compressed parts; compress it as one"
        raise Unreadable("too_many_parts", message)
    return parts + 1


def _damaged(name: str, error: Exception) -> Unreadable:
    return Unreadable("damaged_compression", f"the file is damaged {name} ({error}); compress it again")


def _cut_off(name: str) -> Unreadable:
    return Unreadable(
        "damaged_compression", f"the file is {name} that ends too early; upload it again, whole"
    )
