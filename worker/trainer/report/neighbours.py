"""Compares the loss of each row with those of rows with similar prompts.

A prompt becomes a vector of its tokens and pairs of tokens, each weighted by its rarity (tf-idf) and hashed
into a fixed number of dimensions. So what all prompts share, such as a system prompt, does not count.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from worker.rows.row import Row

DIMENSIONS = 512
NEIGHBOURS = 8
LEAST_SIMILARITY = 0.1  # the cosine of two prompts from which they are neighbours
FEWEST = 3  # with fewer neighbours, a row is compared with all rows
ROWS_AT_ONCE = 512
PAIR = 1_000_003

Vectors = NDArray[np.float32]
Losses = NDArray[np.float64]


def above_neighbours(rows: Sequence[Row], losses: Losses) -> Losses:
    """Return how far the loss of each row is above the median loss of the rows with similar prompts, [X]."""
    if not len(rows):
        return losses
    vectors = _vectors(rows)
    medians = np.full(len(rows), np.nanmedian(losses))
    for begin in range(0, len(rows), ROWS_AT_ONCE):
        similar = vectors[begin : begin + ROWS_AT_ONCE] @ vectors.T
        for position, found in enumerate(similar, begin):
            found[position] = -1.0  # not the row itself
            nearest = np.argpartition(-found, min(NEIGHBOURS, len(found)) - 1)[:NEIGHBOURS]
            nearest = nearest[found[nearest] >= LEAST_SIMILARITY]
            if len(nearest) >= FEWEST:
                medians[position] = np.nanmedian(losses[nearest])
    return losses - medians


def _vectors(rows: Sequence[Row]) -> Vectors:
    counts = np.zeros((len(rows), DIMENSIONS), np.float32)
    for count_D, row in zip(counts, rows, strict=True):
        tokens = row.tokens_L[~row.learnt_L].astype(np.int64)
        pairs = tokens[:-1] * PAIR + tokens[1:]
        np.add.at(count_D, np.concatenate([tokens, pairs]) % DIMENSIONS, 1.0)
    frequencies = (counts > 0).sum(0)
    vectors = np.log1p(counts) * np.log(len(rows) / np.maximum(frequencies, 1)).astype(np.float32)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
