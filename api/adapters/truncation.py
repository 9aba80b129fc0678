"""Cuts an adapter to its first ranks while it is read. The result is a plain LoRA with its own manifest.

The cut keeps the first rows of A [r, inputs], which are consecutive bytes, and the first columns of
B [outputs, r]. This needs no arithmetic, and only one tensor is in memory at a time.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from core.storage.file_names import MANIFEST

ALIGNMENT = 8  # bytes: the tensors begin at a multiple of it

Members = Iterator[tuple[str, Iterator[bytes]]]


def truncated_members(names: Sequence[str], read: Callable[[str], Iterator[bytes]], rank: int) -> Members:
    """Yield the files cut to `rank` ranks. Read each to its end before the next one.

    The manifest comes last, as it holds the hashes of the others.
    """
    files: list[dict[str, Any]] = []
    for name in names:
        if name != MANIFEST:
            yield name, _noted(name, _truncated(name, read(name), rank), files)
    if MANIFEST in names:
        yield MANIFEST, _manifest(read(MANIFEST), files, rank)


def _truncated(name: str, chunks: Iterator[bytes], rank: int) -> Iterator[bytes]:
    match name:
        case "adapter_model.safetensors":
            return truncated_weights(chunks, rank)
        case "adapter_config.json":
            return iter([_json(_whole(chunks) | {"r": rank})])
        case "README.md":
            note = f"Cut to its first {rank} ranks at the download. All else here is about the whole adapter."
            return iter([b"".join(chunks) + f"\n{note}\n".encode()])
    return chunks


def truncated_weights(chunks: Iterator[bytes], rank: int) -> Iterator[bytes]:
    """Yield a safetensors file of LoRA factors, with the first `rank` ranks of each factor."""
    source = _Source(chunks)
    header = json.loads(source.take(int.from_bytes(source.take(8), "little")))
    metadata = header.pop("__metadata__", None)
    tensors = sorted(header.items(), key=lambda entry: entry[1]["data_offsets"][0])
    cut, start = {}, 0
    for name, entry in tensors:
        begin, end = entry["data_offsets"]
        rows, columns = entry["shape"]
        shape = [rank, columns] if _is_a(name) else [rows, rank]
        size = (end - begin) // (rows * columns) * shape[0] * shape[1]
        cut[name] = {**entry, "shape": shape, "data_offsets": [start, start + size]}
        start += size
    if metadata is not None:
        cut["__metadata__"] = metadata
    told = json.dumps(cut).encode()
    told += b" " * (-len(told) % ALIGNMENT)
    yield len(told).to_bytes(8, "little") + told
    for name, entry in tensors:
        begin, end = entry["data_offsets"]
        yield _first_ranks(memoryview(source.take(end - begin)), entry["shape"], rank, of_a=_is_a(name))


def _first_ranks(tensor: memoryview, shape: Sequence[int], rank: int, *, of_a: bool) -> bytes:
    rows, columns = shape
    row = len(tensor) // rows  # in bytes
    if of_a:
        return bytes(tensor[: rank * row])
    kept = row // columns * rank
    return b"".join(tensor[start : start + kept] for start in range(0, len(tensor), row))


def _is_a(name: str) -> bool:
    return name.endswith("lora_A.weight")


def _noted(name: str, chunks: Iterator[bytes], files: list[dict[str, Any]]) -> Iterator[bytes]:
    """Yield the same bytes. At their end, add the file's entry for the manifest to `files`."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    files.append({"name": name, "bytes": size, "sha256": digest.hexdigest()})


def _manifest(chunks: Iterator[bytes], files: list[dict[str, Any]], rank: int) -> Iterator[bytes]:
    """Yield the manifest. It is made when it is read, after all other files."""
    yield _json(_whole(chunks) | {"truncated_to_rank": rank, "files": files})


def _whole(chunks: Iterator[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"".join(chunks))
    return found


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


class _Source:
    """Reads chunks of any size as one run of bytes."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()

    def take(self, size: int) -> bytes:
        """Return the next `size` bytes. Raises EOFError if fewer are left."""
        while len(self._held) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise EOFError(f"{size - len(self._held)} bytes are missing")
            self._held += chunk
        taken = bytes(memoryview(self._held)[:size])
        del self._held[:size]
        return taken
