"""The rows of a file of prompts as a grader sees them: the JSON of each line, read when it is needed."""

import os
from array import array
from io import FileIO
from typing import Any

from core.datasets.check import read_rows

CHUNK_BYTES = 1024**2


class RowItems:
    """The items of a checked file, by the number of their line, counted from 1.

    Only the places of the lines are in memory: a file may be larger than that.
    """

    def __init__(self, content: FileIO) -> None:
        """Keep the file open until `close`, whoever else closes it."""
        self._file = FileIO(os.dup(content.fileno()), "rb")
        self._ends = array("q", [0])
        position = 0
        while chunk := os.pread(self._file.fileno(), CHUNK_BYTES, position):
            at = chunk.find(b"\n")
            while at >= 0:
                self._ends.append(position + at + 1)
                at = chunk.find(b"\n", at + 1)
            position += len(chunk)
        if position > self._ends[-1]:
            self._ends.append(position)

    def __getitem__(self, line: int) -> dict[str, Any]:
        start, end = self._ends[line - 1], self._ends[line]
        (row,) = read_rows([os.pread(self._file.fileno(), end - start, start)])
        return row[1]

    def close(self) -> None:
        """Close the file. After that, no item can be read."""
        self._file.close()
