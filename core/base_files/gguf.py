"""Reads the head of a GGUF file, without its weights.

The library `gguf` reads all of the file into objects, which takes seconds, and the API has it not.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import IO

MAGIC = b"GGUF"
TEXT, LIST = 8, 9
FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
LONGEST = 64 * 1024**2

Value = bytes | float | None


class GgufHead:
    """The pairs of names and values of a file, and then the names of its tensors.

    Each is read once, in this order. All methods raise ValueError for a file of another form.
    """

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        if content.read(len(MAGIC)) != MAGIC:
            raise ValueError("it is not a GGUF file")
        self._number("I")  # the version
        self._tensors, self._pairs = int(self._number("Q")), int(self._number("Q"))

    def pairs(self) -> Iterator[tuple[str, Value]]:
        """Yield names with texts, as their bytes, and with numbers. A list is passed over, and is None."""
        for _ in range(self._pairs):
            name = self._name()
            yield name, self._value(int(self._number("I")))

    def tensors(self) -> Iterator[str]:
        """Yield the names of the tensors. Call it after `pairs` has ended."""
        for _ in range(self._tensors):
            yield self._name()
            dimensions = int(self._number("I"))
            self._content.seek(struct.calcsize(f"<{dimensions}QIQ"), 1)  # the shape, the type, the place

    def _value(self, kind: int) -> Value:
        if kind == TEXT:
            return self._content.read(self._length())
        if kind == LIST:
            inner, count = int(self._number("I")), self._length()
            self._skip(inner, count)
            return None
        return self._number(_form(kind))

    def _skip(self, kind: int, count: int) -> None:
        """Read past the items of a list."""
        if kind in FORMS:
            self._content.seek(struct.calcsize(FORMS[kind]) * count, 1)
            return
        for _ in range(count):
            if kind == TEXT:
                self._content.seek(self._length(), 1)
            else:
                self._value(kind)

    def _name(self) -> str:
        return self._content.read(self._length()).decode("utf-8", "replace")

    def _length(self) -> int:
        length = int(self._number("Q"))
        if length > LONGEST:
            raise ValueError(f"a value of {length} bytes")
        return length

    def _number(self, form: str) -> float:
        size = struct.calcsize(f"<{form}")
        content = self._content.read(size)
        if len(content) < size:
            raise ValueError("the file ends too early")
        number: float = struct.unpack(f"<{form}", content)[0]
        return number


def _form(kind: int) -> str:
    if kind not in FORMS:
        raise ValueError(f"a value of the unknown type {kind}")
    return FORMS[kind]


def text_in(path: Path, name: str) -> str | None:
    """Return the text of a name, or None if there is none. Raises ValueError for a file of another form."""
    with path.open("rb") as content:
        for found, value in GgufHead(content).pairs():
            if found == name and isinstance(value, bytes):
                return value.decode()
    return None
