"""Gives each row of a job with KTO its companion, from which the objective estimates KL(p || p_base).

A companion is the row's own prompt with another row's answer. TRL takes the answer of the previous row in
the file. Here it is the answer of the previous row in an order that the seed draws, since files often hold
several answers to one prompt one after another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from worker.rows.row import Row


def with_companions(rows: Sequence[Row], seed: int, max_length: int) -> Iterator[Row]:
    """Yield each row, followed by its companion.

    The other row of a companion is the previous row in an order that `seed` draws. A companion is cut to
    `max_length` tokens, but keeps at least the first token of the answer.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    before = np.empty_like(order)
    before[order] = np.roll(order, 1)
    for row, other in zip(rows, before, strict=True):
        yield row
        yield _companion(row, rows[int(other)], max_length)


def _companion(row: Row, other: Row, max_length: int) -> Row:
    start, begin = int(row.learnt_L.argmax()), int(other.learnt_L.argmax())
    end = max(max_length, start + 1)
    tokens_L = np.concatenate([row.tokens_L[:start], other.tokens_L[begin:]])[:end]
    learnt_L = np.concatenate([row.learnt_L[:start], other.learnt_L[begin:]])[:end]
    return replace(row, tokens_L=tokens_L, learnt_L=learnt_L, desirable=False)
