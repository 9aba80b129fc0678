"""Compares the rows of a file with each other, and with those of a validation file."""

import numpy as np

from core.datasets.kinds import Kind
from worker.dataset_checks.all_rows.columns import Columns
from worker.dataset_checks.all_rows.similarity import (
    Hashes,
    Rows,
    earlier_equal,
    earlier_similar,
    similar_in,
    sorted_positions,
)
from worker.dataset_checks.finding_log import FindingLog

REMOVE = "remove the row"
CONTRADICTION = (
    ("an earlier row has another answer to the same prompt", "keep the better answer"),
    # of a prompt
    ("an earlier row has the same prompt with other values for the grader", "keep one of the two"),
)


def compare_rows(rows: Columns, kind: Kind | None, log: FindingLog) -> Rows:
    """Add the findings on rows that repeat or contradict others. Returns the positions of repeated ones."""
    lines, exact = rows.lines, rows.exact
    repeated = earlier_equal(exact)
    _add(log, "exact_duplicate", lines, lines, repeated, "the row teaches what an earlier row does", REMOVE)
    similar = earlier_similar(rows.signatures)
    similar[(repeated >= 0) | (exact[similar] == exact)] = -1
    mend = "keep one of the two, unless they differ in what matters"
    _add(log, "near_duplicate", lines, lines, similar, "the row is nearly an earlier row", mend)
    contradicted = earlier_equal(rows.subjects)
    contradicted[(repeated >= 0) | (rows.verdicts[contradicted] == rows.verdicts)] = -1
    _add(log, "contradiction", lines, lines, contradicted, *CONTRADICTION[kind == "prompt"])
    return rows.positions[repeated >= 0]


def compare_with_validation(rows: Columns, validation: Columns, kind: Kind | None, log: FindingLog) -> Rows:
    """Add the findings on rows that the validation file has too. Returns the positions of equal ones.

    Prompts are equal whatever their graders read beside them: that is not what the model sees.
    """
    lines, other_lines = rows.lines, validation.lines
    if kind == "prompt":
        equal = _equal_in(rows.subjects, validation.subjects)
    else:
        equal = _equal_in(rows.exact, validation.exact)
    _add(log, "leaked_row", lines, other_lines, equal, "the validation file has this row", REMOVE)
    similar = similar_in(rows.signatures, validation.signatures)
    similar[equal >= 0] = -1
    message = "the validation file has nearly this row"
    mend = "remove one of the two, or the validation loss tells too little"
    _add(log, "leaked_near_row", lines, other_lines, similar, message, mend)
    return rows.positions[equal >= 0]


def _equal_in(keys: Hashes, others: Hashes) -> Rows:
    order = sorted_positions(others)
    ordered = others[order]
    positions = np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)
    return np.where(ordered[positions] == keys, order[positions], np.int32(-1))


def _add(
    log: FindingLog, code: str, lines: Rows, other_lines: Rows, others: Rows, message: str, mend: str
) -> None:
    """Add a finding for each row of `others` that is not -1, and describe the first ones."""
    found = np.flatnonzero(others >= 0)
    room = log.room(code)
    for row in found[:room]:
        log.add(code, int(lines[row]), "", message, mend, int(other_lines[others[row]]))
    log.count_more(code, max(len(found) - room, 0))
