"""Compares two runs of an eval. Nothing here writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sqlalchemy.orm import Session

from api.evals import service as evals
from api.evals.comparison.judged_rows import Judged, rows_of_both, samples_per_row
from api.evals.comparison.schemas import ChangedRow, ComparedRun, ComparisonObject, RowOfRun
from api.evals.output_items.reading import read_each
from api.evals.runs.schemas import STATUSES
from api.evals.runs.service import RUNS
from api.http.paging import unknown_cursor, within_page
from core.errors import Conflict, InvalidRequest, NotFound
from core.evals.criteria import CRITERION, Criterion, gain
from core.evals.results import Record
from core.storage.object_store import ObjectStore
from core.tables import Task

Change = Literal["better", "worse"]


class Compared(NamedTuple):
    """Two completed runs of an eval, and the eval's criteria."""

    eval_id: str
    criteria: Sequence[Criterion]
    base: Task
    tuned: Task

    @property
    def samples_per_row(self) -> int:
        return samples_per_row(self.base)


@dataclass(frozen=True)
class _Changed:
    """A row that changed, by how much, and the bytes of both its records."""

    index: int
    gained: float
    bytes: int


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
    from api.evals.comparison.statistics import compare, corrected  # not before: numpy takes 20 MB

    rows: list[int] = []
    by_criterion: list[list[tuple[Judged, Judged]]] = [[] for _ in runs.criteria]
    compared, left_out = 0, 0
    for base, tuned in rows_of_both(store, runs.base, runs.tuned):
        if not (base.results and tuned.results):
            left_out += 1
            continue
        compared += 1
        rows.append(base.index // runs.samples_per_row)
        for pairs, pair in zip(by_criterion, zip(base.results, tuned.results, strict=True), strict=True):
            pairs.append(pair)
    found = [
        compare(criterion, [base.result for base, _ in pairs], [tuned.result for _, tuned in pairs], rows)
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
    """Return a page of the rows that changed, the largest change first, and whether more follow.

    The page ends early if it would have too many bytes, and reads each file once for all its rows. Raises
    InvalidRequest as `comparison` does, and also for an unknown criterion or cursor.
    """
    position = _position_of(runs.criteria, name)
    changes = _changes(store, runs, position, change)
    left = changes[_start(changes, after) :]
    page = within_page([(changed, changed.bytes) for changed in left[:limit]])
    indexes = {changed.index for changed in page}
    base, tuned = (read_each(store, run, indexes) for run in (runs.base, runs.tuned))
    return [_row(runs, position, changed, base, tuned) for changed in page], len(page) < len(left)


def _completed(session: Session, project_id: str, eval_id: str, run_id: str, param: str) -> Task:
    try:
        run = RUNS.find(session, project_id, eval_id, run_id).task
    except NotFound as error:
        message = f"No such run of the eval {eval_id}: {run_id[:128]}"
        raise NotFound(message, code="eval_run_not_found", param=param) from error
    if run.status != "succeeded":
        raise Conflict(
            f"The run {run_id} is {STATUSES[run.status]}. Runs can be compared once both have completed.",
            code="eval_run_not_completed",
            param=param,
        )
    return run


def _position_of(criteria: Sequence[Criterion], name: str) -> int:
    """Return the position of a criterion in the eval. Raises InvalidRequest."""
    names = [criterion.name for criterion in criteria]
    if name not in names:
        raise InvalidRequest(
            f"The eval has no criterion '{name[:64]}'. It has: {', '.join(names)}.",
            code="invalid_value",
            param="criterion",
        )
    return names.index(name)


def _changes(store: ObjectStore, runs: Compared, position: int, change: Change) -> list[_Changed]:
    """Return the rows that changed so. The largest change comes first."""
    criterion, sign = runs.criteria[position], 1 if change == "better" else -1
    judged = [
        _Changed(
            base.index,
            gain(criterion, base.results[position].score, tuned.results[position].score),
            base.bytes + tuned.bytes,
        )
        for base, tuned in rows_of_both(store, runs.base, runs.tuned)
        if base.results and tuned.results
    ]
    changed = [row for row in judged if sign * row.gained > 0]
    return sorted(changed, key=lambda row: (-sign * row.gained, row.index))


def _start(changes: Sequence[_Changed], after: str | None) -> int:
    """Return how many of the changes come before the page. Raises InvalidRequest."""
    if after is None:
        return 0
    ids = [_id(row.index) for row in changes]
    if after not in ids:
        raise unknown_cursor(after)
    return ids.index(after) + 1


def _row(
    runs: Compared, position: int, changed: _Changed, base: Mapping[int, Record], tuned: Mapping[int, Record]
) -> ChangedRow:
    index = changed.index
    return ChangedRow(
        id=_id(index),
        datasource_item_id=index // runs.samples_per_row,
        datasource_item=base[index].item,
        change=changed.gained,
        base=RowOfRun.of(runs.base, base[index], position),
        tuned=RowOfRun.of(runs.tuned, tuned[index], position),
    )


def _id(index: int) -> str:
    return f"row-{index}"
