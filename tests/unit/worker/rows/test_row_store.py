"""Rows on the disk: what was written is read, to the bit, and nothing of it is left behind."""

import os
import pickle
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fixtures.engine.rows import make_rows
from worker.rows.row import Row
from worker.rows.row_store import ENTRY, RowStore, store_rows

WEIGHTS = np.array([0, 0, 0.1, 0, 1], np.float32)
ROWS = [
    *make_rows(5, 0),
    Row(2**33, np.array([0, 7, 0, 2**31 - 1, 5], np.int32), WEIGHTS > 0, WEIGHTS),
    Row(9, np.array([3, 0], np.int32), np.array([False, True]), desirable=False),
]
TOKENS = [[7, 8, 5, 7, 8], [7, 8], [8, 7, 7], [7], [0, 7, 8, 7]]


def values_of(row: Row) -> tuple[Any, ...]:
    """Return all of a row's parts, with arrays as their type and bytes."""
    return tuple(
        (part.dtype, part.tobytes()) if isinstance(part, np.ndarray) else part for part in astuple(row)
    )


def assert_holds(store: RowStore, rows: list[Row]) -> None:
    assert [values_of(row) for row in store] == [values_of(row) for row in rows]


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    store = store_rows(ROWS, tmp_path)
    assert_holds(store, ROWS)
    assert values_of(store[-1]) == values_of(ROWS[-1])
    assert [row.line for row in store[4:100:2]] == [row.line for row in ROWS[4:100:2]]
    with pytest.raises(IndexError):
        store[len(ROWS)]


def test_a_summary_counts_what_the_rows_hold() -> None:
    store = store_rows(ROWS)
    assert len(store) == store.summary.rows == len(ROWS)
    assert store.summary.tokens == sum(len(row.tokens_L) for row in ROWS)
    assert store.summary.supervised == sum(row.supervised for row in ROWS)
    assert store.longest.line == max(ROWS, key=lambda row: len(row.tokens_L)).line


def test_a_row_says_where_the_last_invocation_of_its_adapter_begins() -> None:
    rows = [Row(1, np.array(tokens, np.int32), np.ones(len(tokens), bool)) for tokens in TOKENS]
    assert [row.acts_from for row in store_rows(rows, invocation=(7, 8))] == [3, 0, 3, 1, 1]
    assert [row.acts_from for row in store_rows(rows)] == [0] * len(rows)


def test_a_token_takes_four_bytes_and_a_row_little_more() -> None:
    rows = make_rows(50, 1)
    store = store_rows(rows)
    sizes = [os.fstat(file.fileno()).st_size for file in store.files]
    assert sizes == [len(rows) * ENTRY.size, 4 * store.summary.tokens]
    assert ENTRY.size <= 26


def test_nothing_is_left_of_a_store_that_nobody_holds(tmp_path: Path) -> None:
    store = store_rows(ROWS, tmp_path)
    assert list(tmp_path.iterdir()) == []
    files = store.files
    del store
    assert all(file.closed for file in files)


def test_a_closed_store_leaves_the_disk_although_somebody_holds_it(tmp_path: Path) -> None:
    store = store_rows(ROWS, tmp_path)
    store.close()
    assert all(file.closed for file in store.files)
    with pytest.raises(ValueError, match="closed"):
        store[0]


def test_a_process_on_another_machine_gets_the_same_rows() -> None:
    assert_holds(pickle.loads(pickle.dumps(store_rows(ROWS))), ROWS)  # noqa: S301
