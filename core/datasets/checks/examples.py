"""Texts of rows as reports show them: short, storable, and without secrets."""

from typing import Any

from core.datasets.checks.private_data import masked
from core.strict_json import storable

LONGEST_TEXT = 2000  # characters
MOST_ITEMS = 10  # of a list, such as messages
CUT = "…"


def shown_row(value: Any) -> Any:
    """Return a row, or a part of it, as a report shows it. A longer text ends with an ellipsis."""
    if isinstance(value, str):
        return shown_text(value)
    if isinstance(value, list):
        return [shown_row(each) for each in value[:MOST_ITEMS]]
    if isinstance(value, dict):
        return {key: shown_row(each) for key, each in value.items()}
    return value


def shown_text(text: str) -> str:
    """Return a text as a report shows it. Secrets are masked first: half of one would not be recognised."""
    safe = storable(masked(text))
    return safe if len(safe) <= LONGEST_TEXT else safe[:LONGEST_TEXT] + CUT
