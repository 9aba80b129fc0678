"""Finds equal and similar rows by fixed-width columns, so that a million rows take little memory.

A row's signature has the lowest byte of each of 63 MinHash values of its words and word pairs (Broder, 1997;
b-bit MinHash, Li and König, 2010). The share of equal bytes estimates the Jaccard similarity of two rows.
Three bytes are one band. Only rows with an equal band are compared (locality-sensitive hashing). Two rows
with a similarity of s share one of the 21 bands with a probability of 1 - (1 - s^3)^21: 94 % for s = 0.5.
"""

from array import array
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash

VALUES = 63  # of a signature, a byte each
BAND_VALUES = 3
SEED = 1
SIMILAR = 0.5  # the estimated Jaccard similarity from which rows count as similar: one word in five is edited
NEEDED = int(SIMILAR * VALUES) + 1
NEIGHBOURS = 4  # rows of the other file that are compared in each band
COMPARED_AT_ONCE = 65_536
WORD_LENGTH = 20  # of longer "words", a text has no spaces: its characters are taken
CHARACTERS = 4

Signatures = NDArray[np.uint8]
Hashes = NDArray[np.int64]
Rows = NDArray[np.int32]  # positions of rows, and other small numbers: half the memory of numpy's own


def signature(text: str, images: int | None = None) -> bytes:
    """Return the signature of a text, of VALUES bytes.

    Texts about other images are not similar: then no word pair with the images' hash is the same.
    """
    values = RMinHash(num_perm=VALUES, seed=SEED)
    shingles = _shingles(text.lower())
    values.update(shingles if images is None else [f"{images} {each}" for each in shingles])
    return array("I", values.digest()).tobytes()[::4]


def _shingles(text: str) -> list[str]:
    words = text.split()
    if len(words) * WORD_LENGTH < len(text):
        return [text[at : at + CHARACTERS] for at in range(max(len(text) - CHARACTERS + 1, 1))]
    return words + list(map(" ".join, pairwise(words)))


def earlier_equal(keys: Hashes) -> Rows:
    """Return for each row the first row with an equal key, or -1 if there is none before it."""
    order = sorted_positions(keys)
    first = _first_of_group(keys[order], order)
    earlier = np.full(len(keys), -1, np.int32)
    repeats = first != order
    earlier[order[repeats]] = first[repeats]
    return earlier


def earlier_similar(signatures: Signatures) -> Rows:
    """Return for each row an earlier row that is similar, or -1.

    In each band, a row is compared with the first row of an equal band and with the one before it.
    """
    similar = np.full(len(signatures), -1, np.int32)
    for keys in _bands(signatures):
        _compare_in_band(signatures, keys, similar)  # whose arrays are gone when the next band is sorted
    return similar


def _compare_in_band(signatures: Signatures, keys: NDArray[np.uint32], similar: Rows) -> None:
    order = sorted_positions(keys)
    first = _first_of_group(keys[order], order)
    repeats = np.flatnonzero(first != order).astype(np.int32)
    rows = order[repeats]
    _compare(signatures, rows, signatures, first[repeats], similar)
    _compare(signatures, rows, signatures, order[repeats - 1], similar)


def similar_in(signatures: Signatures, others: Signatures) -> Rows:
    """Return for each row a similar row of another file, or -1."""
    similar = np.full(len(signatures), -1, np.int32)
    for keys, other_keys in zip(_bands(signatures), _bands(others), strict=True):
        order = sorted_positions(other_keys)
        ordered = other_keys[order]
        positions = np.searchsorted(ordered, keys)
        for step in range(NEIGHBOURS):
            at = positions + step
            rows = np.flatnonzero(at < len(ordered))
            rows = rows[ordered[at[rows]] == keys[rows]]
            _compare(signatures, rows, others, order[at[rows]], similar)
    return similar


def sorted_positions(keys: NDArray[np.generic]) -> Rows:
    """Return the positions of keys in their order, those of equal keys in theirs."""
    return np.argsort(keys, kind="stable").astype(np.int32)


def _bands(signatures: Signatures) -> Iterator[NDArray[np.uint32]]:
    """Return for each band the key of each row, in which the band's bytes are the digits."""
    for first in range(0, VALUES, BAND_VALUES):
        keys = np.zeros(len(signatures), np.uint32)
        for value in range(first, first + BAND_VALUES):
            keys <<= 8
            keys |= signatures[:, value]
        yield keys


def _first_of_group(ordered: NDArray[np.generic], order: Rows) -> Rows:
    """Return for each position of sorted keys the row at the first position with an equal key."""
    begins = np.ones(len(ordered), bool)
    begins[1:] = ordered[1:] != ordered[:-1]
    positions = np.where(begins, np.arange(len(ordered), dtype=np.int32), np.int32(0))
    return order[np.maximum.accumulate(positions)]


def _compare(signatures: Signatures, rows: Rows, others: Signatures, candidates: Rows, similar: Rows) -> None:
    """Write the candidate of each row into `similar` if it is one and the row has none yet."""
    fresh = similar[rows] < 0
    rows, candidates = rows[fresh], candidates[fresh]
    for at in range(0, len(rows), COMPARED_AT_ONCE):
        some, their = rows[at : at + COMPARED_AT_ONCE], candidates[at : at + COMPARED_AT_ONCE]
        alike = (signatures[some] == others[their]).sum(axis=1) >= NEEDED
        similar[some[alike]] = their[alike]
