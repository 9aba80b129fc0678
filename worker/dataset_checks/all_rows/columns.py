"""What a check remembers of each row: 104 bytes, whatever the row's size."""

from array import array
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.dataset_checks.all_rows.similarity import VALUES, Hashes, Rows, Signatures, signature
from worker.dataset_checks.one_row.contents import TEMPLATE_TOKENS, Contents

LEARNT_ROLES = ("user", "assistant")  # a system prompt that all rows share would make them all similar


class RowLengths(NamedTuple):
    """The tokens of a row under a base model: all, those before the first learnt one, and whether one is.

    `refusal` says why the base model's template refuses the row. Then the other values mean nothing.
    """

    tokens: int
    prompt_tokens: int
    is_learnt: bool
    refusal: str | None = None


class Columns:
    """One number of each row in each column, in the order of the file."""

    def __init__(self) -> None:
        self._positions = array("i")
        self._lines, self._tokens, self._prompt_tokens = array("i"), array("i"), array("i")
        self._exact, self._subjects, self._verdicts = array("q"), array("q"), array("q")
        self._signatures, self._measured = bytearray(), bytearray()

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, position: int, line: int, row: Contents, bytes_per_token: float) -> None:
        """Remember a row: the `position`-th of the file, from 0."""
        overhead = TEMPLATE_TOKENS * row.messages
        self._positions.append(position)
        self._lines.append(line)
        self._tokens.append(int(row.bytes / bytes_per_token) + overhead)
        self._prompt_tokens.append(int(row.prompt_bytes / bytes_per_token) + overhead - TEMPLATE_TOKENS)
        self._exact.append(row.exact)
        self._subjects.append(row.subject)
        self._verdicts.append(row.verdict)
        compared = " ".join(text for _, role, text in row.texts if role in LEARNT_ROLES)
        self._signatures += signature(compared, row.images)
        self._measured.append(False)

    def measure(self, index: int, lengths: RowLengths) -> None:
        """Replace the estimated lengths of the row at an index by measured ones."""
        self._tokens[index], self._prompt_tokens[index] = lengths.tokens, lengths.prompt_tokens
        self._measured[index] = True

    @property
    def measured(self) -> NDArray[np.bool_]:
        return np.frombuffer(self._measured, np.bool_)

    @property
    def positions(self) -> Rows:
        return np.frombuffer(self._positions, np.int32)

    @property
    def lines(self) -> Rows:
        return np.frombuffer(self._lines, np.int32)

    @property
    def tokens(self) -> Rows:
        return np.frombuffer(self._tokens, np.int32)

    @property
    def prompt_tokens(self) -> Rows:
        return np.frombuffer(self._prompt_tokens, np.int32)

    @property
    def exact(self) -> Hashes:
        return np.frombuffer(self._exact, np.int64)

    @property
    def subjects(self) -> Hashes:
        return np.frombuffer(self._subjects, np.int64)

    @property
    def verdicts(self) -> Hashes:
        return np.frombuffer(self._verdicts, np.int64)

    @property
    def signatures(self) -> Signatures:
        return np.frombuffer(self._signatures, np.uint8).reshape(-1, VALUES)
