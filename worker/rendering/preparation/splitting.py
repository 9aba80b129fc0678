"""Chooses the rows that a job holds out of its training: near duplicates stay on one side.

Rows that are equal or similar form a group, and a group is held out as a whole or not at all. If the file has
few answers, each answer is held out in proportion.
"""

from array import array
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.datasets.kinds import Kind
from worker.dataset_checks.all_rows.answers import LONGEST_ANSWER, MOST_ANSWERS, ROWS_PER_ANSWER
from worker.dataset_checks.all_rows.columns import Columns
from worker.dataset_checks.all_rows.lengths import BYTES_PER_TOKEN
from worker.dataset_checks.all_rows.similarity import Rows, earlier_equal, earlier_similar, sorted_positions
from worker.dataset_checks.one_row.contents import contents_of

TEMPLATE_SHARE = 0.5  # of the rows in one group of similar ones, from which similarity says nothing


class HeldOut(NamedTuple):
    """Which rows are held out, by their positions in the file.

    `answers` is the number of answers that were held out in proportion, or None if answers are many.
    `all_alike` says that most rows are similar to each other, so that only equal rows form groups.
    """

    rows: NDArray[np.bool_]
    answers: int | None
    all_alike: bool


class RowsToSplit:
    """What the split remembers of each row: its columns, and the number of its answer if answers are few."""

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self._columns = Columns()
        self._numbers: dict[str, int] | None = {}
        self._answers = array("H")

    def add(self, line: int, row: dict[str, Any]) -> None:
        """Take the next row of the file."""
        contents = contents_of(row, self._kind)
        self._columns.add(len(self._columns), line, contents, BYTES_PER_TOKEN)
        answer = contents.answer
        if self._numbers is None or answer is None:
            return
        self._answers.append(self._numbers.setdefault(answer, len(self._numbers)))
        if len(self._numbers) > MOST_ANSWERS or len(answer) > LONGEST_ANSWER:
            self._numbers = None

    def hold_out(self, wanted: int, seed: int) -> HeldOut:
        """Choose up to `wanted` rows. They are fewer if groups of similar rows do not fit into the number."""
        groups, all_alike = _groups(self._columns, self._kind)
        answers = self._few_answers()
        chosen = _choose(groups, self._strata(answers), wanted, seed)
        held = np.zeros(len(self._columns), bool)
        held[np.fromiter(chosen, np.int64)] = True
        return HeldOut(held, answers, all_alike)

    def _few_answers(self) -> int | None:
        found = self._numbers
        if not found or len(self._columns) < ROWS_PER_ANSWER * len(found):
            return None
        return len(found)

    def _strata(self, answers: int | None) -> Rows:
        if answers is None:
            return np.zeros(len(self._columns), np.int32)
        return np.frombuffer(self._answers, np.uint16).astype(np.int32)


def _groups(columns: Columns, kind: Kind) -> tuple[Rows, bool]:
    """Return each row's group, and whether similarity was left out because it joins most rows."""
    equal = earlier_equal(columns.subjects if kind == "prompt" else columns.exact)
    similar = _joined(equal, earlier_similar(columns.signatures))
    if np.bincount(similar).max() <= TEMPLATE_SHARE * len(columns):
        return similar, False
    return _joined(equal), True


def _joined(*links: Rows) -> Rows:
    """Return for each row the first row to which links lead, directly or over other rows.

    A link of -1 leads nowhere; all others lead to earlier rows.
    """
    first = list(range(len(links[0])))

    def find(row: int) -> int:
        while first[row] != row:
            first[row] = row = first[first[row]]
        return row

    for found in links:
        for row in np.flatnonzero(found >= 0).tolist():
            one, other = find(row), find(int(found[row]))
            first[max(one, other)] = min(one, other)
    return np.fromiter(map(find, first), np.int32, len(first))


def _choose(groups: Rows, strata: Rows, wanted: int, seed: int) -> Iterator[int]:
    """Yield the rows of groups that are drawn: of each stratum in proportion, up to `wanted` rows."""
    rows = sorted_positions(groups)
    firsts, begins, sizes = np.unique(groups[rows], return_index=True, return_counts=True)
    quotas, left, later = _quotas(strata, wanted), wanted, []
    for number in np.random.default_rng(seed).permutation(len(firsts)).tolist():
        stratum, size = int(strata[firsts[number]]), int(sizes[number])
        members = rows[begins[number] :][:size].tolist()
        if size <= quotas[stratum]:
            quotas[stratum] -= size
            left -= size
            yield from members
        elif size <= left:
            later.append(members)
    yield from _fill_up(later, left)


def _fill_up(groups: Iterable[list[int]], left: int) -> Iterator[int]:
    for members in groups:
        if len(members) <= left:
            left -= len(members)
            yield from members


def _quotas(strata: Rows, wanted: int) -> list[int]:
    """Share `wanted` among the strata in proportion to their rows, by the largest remainders."""
    exact = np.bincount(strata) * (wanted / len(strata))
    quotas = np.floor(exact).astype(np.int64)
    for stratum in np.argsort(quotas - exact, kind="stable")[: wanted - int(quotas.sum())]:
        quotas[stratum] += 1
    return [int(quota) for quota in quotas]
