"""An adapter cut to its first ranks while it is read: a plain LoRA, with a manifest of its own.

Of A [r, inputs] the first rows stay, which are a run of bytes; of B [outputs, r] the first columns. So no
tensor is computed with, and never more than one is in memory.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

MANIFEST = "manifest.json"
ALIGNMENT = 8  # of the tensors' beginning, in bytes

Members = Iterator[tuple[str, Iterator[bytes]]]


def truncated_members(names: Sequence[str], read: Callable[[str], Iterator[bytes]], rank: int) -> Members:
    """The files cut to `rank`, to be read one after another. The manifest comes last: it has their hashes."""
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
            note = (
                f"\nCut to its first {rank} ranks when it was downloaded; the table has those of the whole.\n"
            )
            return iter([b"".join(chunks) + note.encode()])
    return chunks


def truncated_weights(chunks: Iterator[bytes], rank: int) -> Iterator[bytes]:
    """A safetensors file of LoRA factors, with the first `rank` ranks of each."""
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
    """The same bytes; once they are through, an entry of the manifest is added to `files`."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    files.append({"name": name, "bytes": size, "sha256": digest.hexdigest()})


def _manifest(chunks: Iterator[bytes], files: list[dict[str, Any]], rank: int) -> Iterator[bytes]:
    """Made when it is read, after all others."""
    yield _json(_whole(chunks) | {"truncated_to_rank": rank, "files": files})


def _whole(chunks: Iterator[bytes]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"".join(chunks))
    return found


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode()


class _Source:
    """Chunks of any size, read by the byte."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()

    def take(self, size: int) -> bytes:
        """So many bytes. Raises EOFError where there are fewer."""
        while len(self._held) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise EOFError(f"{size - len(self._held)} bytes are missing")
            self._held += chunk
        taken = bytes(memoryview(self._held)[:size])
        del self._held[:size]
        return taken
