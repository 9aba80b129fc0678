"""Cuts a stream of bytes into the lines of a JSONL file, and keeps one line in memory at a time."""

from collections.abc import Iterator

from core.datasets.findings import Finding

UTF8_BOM = b"\xef\xbb\xbf"
UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")
HEAD_BYTES = 4  # enough to recognise the encoding
BLANK = b" \t\r"

Line = tuple[int, bytes | Finding]


class RowReader:
    """Yields each line that is not blank as `(number, bytes)`, from chunks of any size, cut anywhere.

    Line numbers count from 1 and include blank lines. The bytes come without the line end (LF or CRLF), and
    without a UTF-8 byte order mark at the start of the file. `(number, Finding)` takes the place of a line
    longer than `max_row_bytes`, which is skipped, and of a whole file that is UTF-16. At most `max_row_bytes`
    of a line are kept between chunks.
    """

    def __init__(self, max_row_bytes: int) -> None:
        self.max_row_bytes = max_row_bytes
        self._number = 1
        self._pending = bytearray()
        self._head: bytes | None = b""  # None once the encoding is known
        self._skips_line = False
        self._skips_file = False

    def feed(self, chunk: bytes) -> Iterator[Line]:
        """Yield the lines that end in `chunk`. Consume them all before feeding the next chunk."""
        if self._head is not None:
            self._head += chunk
            if len(self._head) < HEAD_BYTES:
                return
            chunk = self._head
            yield from self._open(chunk)
            chunk = chunk.removeprefix(UTF8_BOM)
        if not self._skips_file:
            yield from self._split(chunk)

    def finish(self) -> Iterator[Line]:
        """Yield what is left, which is usually the last line if no line end follows it."""
        if self._head is not None:
            head = self._head
            yield from self._open(head)
            if not self._skips_file:
                yield from self._split(head.removeprefix(UTF8_BOM))
        if not self._skips_file and (line := self._end_line(b"")):
            yield line

    def _open(self, head: bytes) -> Iterator[Line]:
        self._head = None
        if head.startswith(UTF16_BOMS) or b"\0" in head[:HEAD_BYTES]:
            self._skips_file = True
            yield 1, Finding("", "utf16", "the file is UTF-16, not UTF-8; save it as UTF-8")

    def _split(self, chunk: bytes) -> Iterator[Line]:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if line := self._end_line(chunk[start:end]):
                yield line
            self._number += 1
            start = end + 1
        if self._skips_line:
            return
        if len(self._pending) + len(chunk) - start > self.max_row_bytes + 1:  # + 1: the last byte may be a CR
            yield self._too_long()
            self._skips_line = True
        else:
            self._pending += memoryview(chunk)[start:]

    def _end_line(self, rest: bytes) -> Line | None:
        if self._skips_line:
            self._skips_line = False
            return None
        if self._pending:
            rest = bytes(self._pending) + rest
            self._pending.clear()
        line = rest.removesuffix(b"\r")
        if len(line) > self.max_row_bytes:
            return self._too_long()
        return (self._number, line) if line.strip(BLANK) else None

    def _too_long(self) -> Line:
        self._pending.clear()
        return self._number, too_long(self.max_row_bytes)


def too_long(max_row_bytes: int) -> Finding:
    return Finding("", "row_too_long", f"the row is longer than {max_row_bytes:,} bytes; shorten or split it")
