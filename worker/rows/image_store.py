"""What a model's tower has made of a file's images, on the disk: a vector for each token of an image.

In a row, such a token is a number beyond every vocabulary: FIRST_IMAGE_TOKEN + i stands for the vector i of
the row's store. So everything that compares, shares, cuts or counts tokens treats an image like a text, and
rows about the same image share its beginning.
"""

import os
import weakref
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from worker.rows.nameless_file import nameless_file

FIRST_IMAGE_TOKEN = 2**30

Vectors = NDArray[np.uint8]
"""Vectors as their bytes, [I, bytes of a vector]: numpy has no bf16."""
NumberType = Literal["float32", "bfloat16"]
BYTES: dict[NumberType, int] = {"float32": 4, "bfloat16": 2}


def number_type_of(dtype: str) -> NumberType:
    """Return the type in which vectors of a base model are kept, by the name of its own type."""
    return "bfloat16" if dtype.endswith("bfloat16") else "float32"


def words_among(tokens: Iterable[int]) -> list[int]:
    """Return the tokens that stand for no part of an image."""
    return [token for token in tokens if token < FIRST_IMAGE_TOKEN]


def with_placeholders(tokens: Iterable[int], placeholder: int) -> list[int]:
    """Return tokens with the one that a model's tokenizer has for each part of an image."""
    return [token if token < FIRST_IMAGE_TOKEN else placeholder for token in tokens]


class ImageStore:
    """Vectors of `width` numbers of a type. Their file has no name."""

    def __init__(self, width: int, number_type: NumberType, folder: Path | None = None) -> None:
        self.number_type = number_type
        self.name = uuid4().bytes
        """Tells apart the equal tokens of different stores"""
        self.vector_bytes = width * BYTES[number_type]
        self._file = nameless_file(folder)
        weakref.finalize(self, self._file.close)

    def write(self, first: int, vectors: Vectors) -> None:
        """Write vectors from the number `first` on."""
        content, at = np.ascontiguousarray(vectors).data.cast("B"), first * self.vector_bytes
        while content:
            written = os.pwrite(self._file.fileno(), content, at)
            content, at = content[written:], at + written

    def read(self, numbers_I: NDArray[np.integer]) -> Vectors:
        """Return the vectors with these numbers. Neighbours are read at once."""
        found = np.empty((len(numbers_I), self.vector_bytes), np.uint8)
        bounds = [0, *(np.flatnonzero(np.diff(numbers_I) != 1) + 1), len(numbers_I)]
        for begin, end in pairwise(bounds):
            part, at = found[begin:end], int(numbers_I[begin]) * self.vector_bytes
            size = os.preadv(self._file.fileno(), [part.data], at)
            assert size == part.nbytes, "only vectors that were written are read"
        return found

    def close(self) -> None:
        """Close the file, so that it leaves the disk now. After that, no vector can be read."""
        self._file.close()
