"""Cuts a JSON array into its elements while it arrives, and keeps one element in memory at a time."""

import re
from collections.abc import Iterator

from core.datasets.formats.unreadable import Unreadable

# A whole string, a quotation mark of a string that has not ended yet, or a mark that nests or separates
TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|["\[\]{},]', re.DOTALL)
SPACE = b" \t\r\n"


class ArrayReader:
    """Yields each element as `(number, bytes)`, from chunks cut anywhere. Numbers count the elements from 1.

    Elements may share a line, so lines cannot name them.

    `feed` and `finish` raise Unreadable if the bytes are not an array, or if an element is too long.
    """

    def __init__(self, max_row_bytes: int) -> None:
        self._max_row_bytes = max_row_bytes
        self._kept = bytearray()  # from the end of the element before
        self._row = 1  # the number of the next element
        self._scanned = 0  # bytes of `_kept` whose tokens are known
        self._depth = 0
        self._ended = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield the elements that end in `chunk`. Consume them all before feeding the next chunk."""
        self._kept += chunk
        while (token := TOKEN.search(self._kept, self._scanned)) and not self._ended:
            mark, at = token[0], token.start()
            if mark == b'"':  # the string has not ended
                self._scanned = at
                break
            self._scanned = token.end()
            element = self._end_of_element(mark, at)
            if element is not None:
                yield element
        else:
            self._scanned = len(self._kept)
        if self._ended and self._kept.strip(SPACE):
            raise Unreadable(
                "invalid_json", "text follows the end of the JSON array; remove it", row=self._row
            )
        self._refuse_too_long(len(self._kept))

    def finish(self) -> Iterator[tuple[int, bytes]]:
        """Check that the array has ended. It yields nothing."""
        if not self._ended:
            raise Unreadable(
                "invalid_json", "the JSON array does not end; upload the whole file", row=self._row
            )
        yield from ()

    def _end_of_element(self, mark: bytes, at: int) -> tuple[int, bytes] | None:
        if mark in b"[{":
            self._depth += 1
            if self._depth == 1:
                self._drop(self._scanned)
            return None
        if mark in b"]}":
            self._depth -= 1
        ends = (mark == b"," and self._depth == 1) or self._depth == 0
        if not ends or (self._depth == 0 and mark != b"]"):
            return None
        self._ended = self._depth == 0
        raw = bytes(self._kept[:at])
        self._refuse_too_long(len(raw))
        self._drop(self._scanned)
        element = raw.strip(SPACE)
        if not element and mark == b",":
            raise Unreadable(
                "invalid_json", "an element is missing before a comma; remove the comma", row=self._row
            )
        if not element:
            return None
        self._row += 1
        return self._row - 1, element

    def _refuse_too_long(self, length: int) -> None:
        if length > self._max_row_bytes:
            message = f"the row is longer than {self._max_row_bytes:,} bytes; shorten or split it"
            raise Unreadable("row_too_long", message, row=self._row)

    def _drop(self, count: int) -> None:
        del self._kept[:count]
        self._scanned = 0
