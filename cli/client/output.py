"""Prints the output of a command: data on stdout, progress and errors on stderr.

With --json, stdout has one JSON value on each line, and nothing else. An error is one JSON object on stderr.
"""

import json as jsonlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import TuneryError

if TYPE_CHECKING:
    from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, one value on each line")]

# Characters. No row is longer, so a table that goes into a pipe is never cut.
PIPED_WIDTH = 10_000

EMPTY: tuple[Any, ...] = (None, {}, [])


@cache
def stderr() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def note(text: str, style: str | None = None) -> None:
    """Print a line for a person, on stderr."""
    stderr().print(printable(text), style=style, markup=False)


def data(text: str) -> None:
    """Print a line of data on stdout."""
    print(printable(text), flush=True)


def json(value: Any) -> None:
    print(jsonlib.dumps(value, ensure_ascii=False, default=str), flush=True)


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Print the named fields of each row as a table, on stdout."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        grid.add_column(name.upper().replace("_", " "), overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell(name, row.get(name))) for name in columns))
    Console(highlight=False, width=None if sys.stdout.isatty() else PIPED_WIDTH).print(grid)


def record(row: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Print the named fields, one on each line, on stdout. Fields without a value are left out."""
    shown = {name: row[name] for name in fields if row.get(name) not in EMPTY}
    width = max(map(len, shown), default=0)
    for name, value in shown.items():
        data(f"{name:<{width}}  {cell(name, value)}")


def cell(name: str, value: Any) -> str:
    """Return a field as text for people. A name that ends in `_at`, for example, means Unix seconds."""
    if value is None:
        return "-"
    if name.endswith(("_at", "estimated_finish")) and isinstance(value, int | float):
        return datetime.fromtimestamp(value).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list):
        return ", ".join(cell(name, item) for item in value)
    if isinstance(value, dict):
        return "  ".join(f"{key} {cell(key, item)}" for key, item in value.items() if item not in EMPTY)
    return printable(str(value))


def number(value: float) -> str:
    """Return a number with four digits, or more if it has more before its point."""
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"


def error(fault: TuneryError, exit_code: int, as_json: bool) -> None:
    """Print the error that ends a command on stderr: a line for a person, or one JSON object."""
    if not as_json:
        note(f"Error: {fault}", "red")
        return
    told = {"message": str(fault), "exit_code": exit_code, **getattr(fault, "details", {})}
    print(jsonlib.dumps({"error": told}, ensure_ascii=False, default=str), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return the text without control characters: a file's name must not control the terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)
