"""Texts of rows as reports show them: short, storable, and without secrets."""

from typing import Any

from core.strict_json import storable
from worker.dataset_checks.one_row.private_data import masked

LONGEST_TEXT = 2000  # characters
MOST_ITEMS = 10  # of a list, such as messages
MOST_LEVELS = 20  # of lists and objects in each other
CUT = "…"


def shown_row(value: Any, levels: int = MOST_LEVELS) -> Any:
    """Return a row, or a part of it, as a report shows it. An ellipsis stands for what is too much."""
    if isinstance(value, str):
        return shown_text(value)
    if isinstance(value, list | dict) and not levels:
        return CUT
    if isinstance(value, list):
        return [shown_row(each, levels - 1) for each in value[:MOST_ITEMS]]
    if isinstance(value, dict):
        return {shown_text(key): shown_row(each, levels - 1) for key, each in value.items()}
    return value


def shown_text(text: str) -> str:
    """Return a text as a report shows it. Secrets are masked first: half of one would not be recognised."""
    safe = storable(masked(text))
    return safe if len(safe) <= LONGEST_TEXT else safe[:LONGEST_TEXT] + CUT
