"""Replaces the part of a page that a script writes, between two marks. People write the rest of the page."""

from __future__ import annotations

from pathlib import Path


def put(page: Path, script: str, text: str) -> None:
    """Replace the text between the marks of `script`. Raises ValueError if the page lacks a mark."""
    begin, end = marks(script)
    before, found, rest = page.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise ValueError(f"{page} lacks {begin}, or {end} after it")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")


def marks(script: str) -> tuple[str, str]:
    return f"<!-- Written by {script}; run it again instead of editing. -->", f"<!-- End of {script}. -->"
