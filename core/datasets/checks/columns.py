"""What a check remembers of each row: 104 bytes, whatever the row's size."""

from array import array

import numpy as np

from core.datasets.checks.contents import TEMPLATE_TOKENS, Contents
from core.datasets.checks.similarity import VALUES, Rows, Signatures, signature

LEARNT_ROLES = ("user", "assistant")  # a system prompt that all rows share would make them all similar


class Columns:
    """One number of each row in each column, in the order of the file."""

    def __init__(self) -> None:
        self._places = array("I")
        self._lines, self._tokens, self._prompt_tokens = array("I"), array("I"), array("I")
        self._exact, self._subjects, self._verdicts = array("q"), array("q"), array("q")
        self._signatures = bytearray()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, place: int, line: int, row: Contents, bytes_per_token: float) -> None:
        """Remember a row: the `place`-th of the file, from 0. Rows of a JSON array may share a `line`."""
        overhead = TEMPLATE_TOKENS * row.messages
        self._places.append(place)
        self._lines.append(line)
        self._tokens.append(int(row.bytes / bytes_per_token) + overhead)
        self._prompt_tokens.append(int(row.prompt_bytes / bytes_per_token) + overhead - TEMPLATE_TOKENS)
        self._exact.append(row.exact)
        self._subjects.append(row.subject)
        self._verdicts.append(row.verdict)
        compared = " ".join(text for _, role, text in row.texts if role in LEARNT_ROLES)
        self._signatures += signature(compared)

    @property
    def places(self) -> Rows:
        return np.frombuffer(self._places, np.uint32).astype(np.int64)

    @property
    def lines(self) -> Rows:
        return np.frombuffer(self._lines, np.uint32).astype(np.int64)

    @property
    def tokens(self) -> Rows:
        return np.frombuffer(self._tokens, np.uint32).astype(np.int64)

    @property
    def prompt_tokens(self) -> Rows:
        return np.frombuffer(self._prompt_tokens, np.uint32).astype(np.int64)

    @property
    def exact(self) -> Rows:
        return np.frombuffer(self._exact, np.int64)

    @property
    def subjects(self) -> Rows:
        return np.frombuffer(self._subjects, np.int64)

    @property
    def verdicts(self) -> Rows:
        return np.frombuffer(self._verdicts, np.int64)

    @property
    def signatures(self) -> Signatures:
        return np.frombuffer(self._signatures, np.uint8).reshape(-1, VALUES)
