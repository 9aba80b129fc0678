"""Reads CSV files with a header: commas, semicolons or tabs, as their first line shows."""

import csv
import io
from collections.abc import Iterator

from core.datasets.findings import Finding
from core.datasets.formats.unreadable import Unreadable

DELIMITERS = ",;\t"
MOST_COLUMNS = 200


class _Bytes(io.RawIOBase):
    """Chunks as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._rest = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        count = min(len(buffer), len(self._rest))
        buffer[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def columns_of(first_line: str) -> tuple[str, list[str]] | None:
    """Return the delimiter and the names of a header, or None if the line is not the header of a CSV file."""
    for delimiter in DELIMITERS:
        try:
            names = next(csv.reader([first_line], delimiter=delimiter, strict=True), [])
        except csv.Error:
            continue
        names = [name.strip() for name in names]
        if 2 <= len(names) <= MOST_COLUMNS and all(names) and len(set(names)) == len(names):
            return delimiter, names
    return None


def delimited_rows(
    chunks: Iterator[bytes], delimiter: str, max_row_bytes: int
) -> Iterator[tuple[int, dict[str, str] | Finding]]:
    """Yield each row after the header with its line. Raises Unreadable."""
    csv.field_size_limit(max_row_bytes)
    raw: io.RawIOBase = _Bytes(chunks)
    text = io.TextIOWrapper(io.BufferedReader(raw), encoding="utf-8-sig", newline="")
    lines = _ShortRecords(text, max_row_bytes)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader)]
        line = reader.line_num + 1
        lines.begin()
        for cells in reader:
            lines.begin()
            if len(cells) == len(names):
                yield line, dict(zip(names, cells, strict=True))
            elif cells:
                message = (
                    f"the row has {len(cells)} cells, and the header {len(names)}; put quotes around cells"
                )
                yield line, Finding("", "other_columns", message)
            line = reader.line_num + 1
    except csv.Error as error:
        message = f"no CSV from here on: {error}; put quotes around cells, and double the quotes in them"
        raise Unreadable("invalid_csv", message, reader.line_num) from error
    except UnicodeDecodeError as error:
        raise Unreadable("invalid_utf8", "the file is not UTF-8; save it as UTF-8") from error


class _ShortRecords:
    """The lines of a text. Those of one record, which quotes may hold together, are limited in all."""

    def __init__(self, text: io.TextIOWrapper, longest: int) -> None:
        self._text, self._longest, self._length = text, longest, 0
        self._line = self._begins = 1

    def begin(self) -> None:
        """Count from here on: the next line begins a record."""
        self._length, self._begins = 0, self._line

    def __iter__(self) -> Iterator[str]:
        while line := self._text.readline(self._longest + 2):
            self._length += len(line)
            self._line += 1
            if self._length > self._longest:
                message = (
                    f"the row is longer than {self._longest:,} characters; split it, or close its quotes"
                )
                raise Unreadable("row_too_long", message, self._begins)
            yield line
