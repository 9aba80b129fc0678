"""Writes Markdown tables whose columns are also aligned in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

NOTHING = "–"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table: the first column aligned to the left, the columns of numbers to the right."""
    cells = [headings, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    dashes = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "".join(f"{_padded(row, widths)}\n" for row in [headings, dashes, *rows])


def shown(value: float | None, form: str) -> str:
    """Format a number; a missing number becomes a dash."""
    return NOTHING if value is None else format(value, form)


def failed_row(title: str, columns: int, word_at: int = 1) -> tuple[str, ...]:
    """Return the cells of a run without figures: its title, and "failed" in column `word_at`, from 0."""
    cells = [title, *[NOTHING] * (columns - 1)]
    cells[word_at] = "failed"
    return tuple(cells)


def _padded(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = cells
    numbers = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
    return "| " + " | ".join([first.ljust(widths[0]), *numbers]) + " |"
