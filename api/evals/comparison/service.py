"""Compares two runs of an eval. Nothing here writes."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from sqlalchemy.orm import Session

from api.evals import service as evals
from api.evals.comparison.judged_rows import Judged, rows_of_both
from api.evals.comparison.schemas import ChangedRow, ComparedRun, ComparisonObject, RowOfRun
from api.evals.output_items.reading import read_one
from api.evals.runs import queries
from api.http.downloads import content_missing
from api.http.paging import PAGE_BYTES, unknown_cursor
from core.errors import Conflict, InvalidRequest, NotFound
from core.evals.criteria import CRITERION, Criterion
from core.evals.statistics.comparison import compare, corrected, gain
from core.storage.object_store import ObjectStore
from core.tables import Task

Change = Literal["better", "worse"]
ROW_PREFIX = "row-"


class Compared(NamedTuple):
    """Two completed runs of an eval, and the eval's criteria."""

    eval_id: str
    criteria: Sequence[Criterion]
    base: Task
    tuned: Task


def find(session: Session, project_id: str, eval_id: str, base_id: str, tuned_id: str) -> Compared:
    """Return two runs of the project's eval. Raises NotFound, and Conflict if a run has not completed."""
    found = evals.get(session, project_id, eval_id)
    criteria = [CRITERION.validate_python(criterion) for criterion in found.criteria]
    base, tuned = (
        _completed(session, project_id, eval_id, run_id, param)
        for run_id, param in ((base_id, "base"), (tuned_id, "tuned"))
    )
    return Compared(eval_id, criteria, base, tuned)


def comparison(store: ObjectStore, runs: Compared) -> ComparisonObject:
    """Return what the criteria say. Raises InvalidRequest if the runs have not judged the same rows."""
    by_criterion: list[list[tuple[Judged, Judged]]] = [[] for _ in runs.criteria]
    compared, left_out = 0, 0
    for base, tuned in rows_of_both(store, runs.base, runs.tuned):
        if not (base.results and tuned.results):
            left_out += 1
            continue
        compared += 1
        for pairs, pair in zip(by_criterion, zip(base.results, tuned.results, strict=True), strict=True):
            pairs.append(pair)
    found = [
        compare(criterion, [base.result for base, _ in pairs], [tuned.result for _, tuned in pairs])
        for criterion, pairs in zip(runs.criteria, by_criterion, strict=True)
    ]
    return ComparisonObject(
        eval_id=runs.eval_id,
        base=ComparedRun.of(runs.base),
        tuned=ComparedRun.of(runs.tuned),
        compared_rows=compared,
        left_out_rows=left_out,
        criteria=corrected(found),
    )


def changed_rows(
    store: ObjectStore, runs: Compared, name: str, change: Change, after: str | None, limit: int
) -> tuple[list[ChangedRow], bool]:
    """Return a page of the rows that changed by a criterion, the largest change first, and whether more follow.

    The page ends early if it would have too many bytes. Raises InvalidRequest as `comparison` does, and for
    an unknown criterion or cursor.
    """
    changes = _changes(store, runs, _place_of(runs.criteria, name), change)
    left = changes[_start(changes, after) :]
    page: list[ChangedRow] = []
    size = 0
    for index, gained in left[:limit]:
        row, bytes_ = _row(store, runs, name, index, gained)
        size += bytes_
        if page and size > PAGE_BYTES:
            break
        page.append(row)
    return page, len(page) < len(left)
