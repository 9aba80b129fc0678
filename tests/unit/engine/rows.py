"""Random rows to train on."""

import numpy as np

from worker.data.render import Row
from worker.engine.grouping import MIN_SHARED


def make_rows(count: int, seed: int) -> list[Row]:
    random = np.random.default_rng(seed)
    rows = []
    for line in range(1, count + 1):
        length = int(random.integers(6, 40))
        tokens = random.integers(0, 300, length).astype(np.int32)
        learnt = np.arange(length) >= length // 2
        rows.append(Row(line, tokens, learnt))
    return rows


def shared_rows(seed: int = 0) -> list[Row]:
    """A prompt that all share, a second one that half of them share, a double and a row within another."""
    random = np.random.default_rng(seed)
    prompt, turn = (random.integers(0, 300, 2 * MIN_SHARED).astype(np.int32) for _ in range(2))
    rows = []
    for index, row in enumerate(make_rows(6, seed)):
        begin = np.concatenate([prompt, turn]) if index % 2 else prompt
        rows.append(with_beginning(begin, row))
    short = Row(7, rows[1].tokens_L[:-3], rows[1].learnt_L[:-3])
    double = Row(8, rows[0].tokens_L, rows[0].learnt_L)
    return [*rows, short, double]


def with_beginning(begin: np.ndarray, row: Row) -> Row:
    """Of the shared part, every third token is learnt, as an assistant's earlier turns are."""
    learnt = np.arange(len(begin)) % 3 == 0
    return Row(row.line, np.concatenate([begin, row.tokens_L]), np.concatenate([learnt, row.learnt_L]))
