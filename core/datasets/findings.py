"""Findings: what is wrong with a dataset, in words that a client can act on."""

from typing import NamedTuple

QUOTE_LENGTH = 40  # characters


class Finding(NamedTuple):
    """One mistake in a row.

    `field` is the path to the mistake, such as `messages[1].role`, and empty if the whole row is meant.
    `code` is for programs. `message` says what is wrong and what to do.
    """

    field: str
    code: str
    message: str


def quote(text: str) -> str:
    """Return a client's text safe to store and to print: cut to 40 characters, with odd ones escaped."""
    return repr(text if len(text) <= QUOTE_LENGTH else text[:QUOTE_LENGTH] + "…")
