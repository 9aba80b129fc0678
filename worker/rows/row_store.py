"""Rendered rows on the disk, of which each is read when it is needed.

A store is two files. The values file holds an int32 for each token of each row: the token's id, or its
complement `~id`, which is negative, if the token is learnt. If a row has weights, they follow its tokens, as
fp32. The entries file says where each row's values are.

The files have no names. So the operating system removes them as soon as no process has them open, however
the processes end, and nobody can find a store that is only half written.

Rows are read by position instead of mapped into memory. Pages of a mapped file would count as the trainer's
memory, and a fault of the disk would end the trainer.
"""

import os
import weakref
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from struct import Struct
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from worker.rows.image_store import ImageStore
from worker.rows.invocation import invoked_at
from worker.rows.nameless_file import nameless_file
from worker.rows.row import Row

# Line, position in the values file, number of tokens, has weights, is desirable, first token with the adapter
ENTRY = Struct("<qqi??i")
ENTRY_FIELDS = np.dtype(
    {
        "names": ["length"],
        "formats": ["<i4"],
        "offsets": [16],
        "itemsize": ENTRY.size,
    }  # of all, the only one read
)
VALUE = np.dtype("<i4")
WEIGHT = np.dtype("<f4")
BUFFER_BYTES = 1024**2


@dataclass(frozen=True)
class Summary:
    """The counts of a store: its rows, their tokens, and number and tokens of the longest row."""

    rows: int
    tokens: int
    supervised: int
    longest: int
    longest_row: int = 0
    squares: float = 0.0
    """The sum over the rows of their tokens squared"""


class RowStore(Sequence[Row]):
    """The rows of one dataset, in their order. An index returns a row, and a slice a list of rows."""

    def __init__(self, entries: FileIO, values: FileIO, summary: Summary) -> None:
        """Take over the two files. `close` closes them, or the end of this object if nobody calls it."""
        self.files = entries, values
        self.summary = summary
        self.images: ImageStore | None = None
        """The vectors of the rows' images, once they are known"""
        for file in self.files:
            weakref.finalize(self, file.close)

    def close(self) -> None:
        """Close the files, so that they leave the disk now. After that, no row can be read."""
        for file in self.files:
            file.close()

    def __len__(self) -> int:
        return self.summary.rows

    @overload
    def __getitem__(self, number: int) -> Row: ...
    @overload
    def __getitem__(self, number: slice) -> list[Row]: ...
    def __getitem__(self, number: int | slice) -> Row | list[Row]:
        numbers = range(len(self))[number]  # raises IndexError, and counts negative numbers from the end
        return self._row(numbers) if isinstance(numbers, int) else [self._row(each) for each in numbers]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The tokens of each row."""
        entries = os.pread(self.files[0].fileno(), ENTRY.size * len(self), 0)
        return np.frombuffer(entries, ENTRY_FIELDS)["length"].astype(np.int64)

    @property
    def longest(self) -> Row:
        """The row with the most tokens; the first of several."""
        return self[self.summary.longest]

    def _row(self, number: int) -> Row:
        entries, values = self.files
        entry = os.pread(entries.fileno(), ENTRY.size, number * ENTRY.size)
        line, position, length, weighted, desirable, acts_from = ENTRY.unpack(entry)
        size = length * VALUE.itemsize
        content = os.pread(values.fileno(), 2 * size if weighted else size, position)
        stored_L = np.frombuffer(content, VALUE, length)
        learnt_L = stored_L < 0
        weights_L = np.frombuffer(content, WEIGHT, length, size).copy() if weighted else None
        tokens_L = np.where(learnt_L, ~stored_L, stored_L)
        return Row(line, tokens_L, learnt_L, weights_L, desirable, acts_from, self.images)

    def __reduce__(self) -> tuple[Any, ...]:
        """Send the content: the other processes of a group may be on other machines."""
        return _received, (*map(_content, self.files), self.summary)


def store_rows(rows: Iterable[Row], folder: Path | None = None, invocation: Sequence[int] = ()) -> RowStore:
    """Write rows into a new store, whose files are in `folder`, and return the store.

    None stands for the system's folder for temporary files. The adapter acts from the last `invocation` on.
    """
    entries, values = (nameless_file(folder) for _ in range(2))
    longest = longest_tokens = position = count = tokens = supervised = squares = 0
    with (
        open(entries.fileno(), "wb", BUFFER_BYTES, closefd=False) as to_entries,
        open(values.fileno(), "wb", BUFFER_BYTES, closefd=False) as to_values,
    ):
        for row in rows:
            length, weighted = len(row.tokens_L), row.weights_L is not None
            invoked = invoked_at(row.tokens_L, invocation)
            acts_from = length if invoked is None else invoked
            to_entries.write(ENTRY.pack(row.line, position, length, weighted, row.desirable, acts_from))
            stored_L = np.where(row.learnt_L, ~row.tokens_L, row.tokens_L)
            position += to_values.write(stored_L.astype(VALUE).tobytes())
            if row.weights_L is not None:
                position += to_values.write(row.weights_L.astype(WEIGHT).tobytes())
            if length > longest_tokens:
                longest, longest_tokens = count, length
            count += 1
            tokens += length
            squares += length**2
            supervised += row.supervised
    return RowStore(
        entries, values, Summary(count, tokens, supervised, longest, longest_tokens, float(squares))
    )


def lengths_of(rows: Sequence[Row]) -> NDArray[np.int64]:
    """Return the tokens of each row."""
    if isinstance(rows, RowStore):
        return rows.lengths
    return np.array([len(row.tokens_L) for row in rows], np.int64)


def _content(file: FileIO) -> bytes:
    file.seek(0)
    return file.readall()


def _received(entries: bytes, values: bytes, summary: Summary) -> RowStore:
    files = []
    for content in (entries, values):
        file = nameless_file(None)
        with open(file.fileno(), "wb", closefd=False) as to_file:
            to_file.write(content)
        files.append(file)
    return RowStore(files[0], files[1], summary)
