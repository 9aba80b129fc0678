"""What is wrong with a dataset, in words that a client can act on."""

from typing import NamedTuple

QUOTE_LENGTH = 40


class Finding(NamedTuple):
    """One mistake in a row.

    `field` is the path to it, as in `messages[1].role`, and empty where the whole row is meant; `code` is
    for programs; `message` says what is wrong and what to do.
    """

    field: str
    code: str
    message: str


def quote(text: str) -> str:
    """Text of a client's, safe to store and to print: clipped, with odd characters escaped."""
    return repr(text if len(text) <= QUOTE_LENGTH else text[:QUOTE_LENGTH] + "…")
