"""Writes the rows of a new dataset, and remembers what its row in the database tells of them."""

from dataclasses import dataclass
from typing import IO

import msgspec

from core.datasets.kinds import Kind
from core.datasets.template_needs import MARKS, Need, needs_of


@dataclass(frozen=True)
class Written:
    """How many rows were written, the bytes of the longest, and the first line that needs a place."""

    count: int
    longest_line: int
    needs: dict[Need, int]


class WrittenRows:
    """Writes rows, and counts them meanwhile."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.count = self.longest_line = 0
        self.needs: dict[Need, int] = {}

    @property
    def so_far(self) -> Written:
        return Written(self.count, self.longest_line, self.needs)

    def write(self, row: bytes, kind: Kind) -> None:
        """Write a row of a kind on a line of its own."""
        self._content.write(row + b"\n")
        self.count += 1
        self.longest_line = max(self.longest_line, len(row))
        if any(mark in row for mark in MARKS):
            for need in needs_of(msgspec.json.decode(row), kind):
                self.needs.setdefault(need, self.count)
