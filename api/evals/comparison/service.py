"""Compares two runs of an eval. Nothing here writes."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

from sqlalchemy.orm import Session

from api.evals import service as evals
from api.evals.comparison.judged_rows import Judged, rows_of_both
from api.evals.comparison.schemas import ChangedRow, ComparedRun, ComparisonObject, RowOfRun
from api.evals.output_items.reading import read_one
from api.evals.runs import queries
from api.evals.runs.schemas import STATUSES
from api.http.paging import PAGE_BYTES, unknown_cursor
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
    from core.evals.statistics.comparison import compare, corrected  # not before: numpy takes 20 MB

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
    """Return a page of the rows that changed, the largest change first, and whether more follow.

    The page ends early if it would have too many bytes. Raises InvalidRequest as `comparison` does, and for
    an unknown criterion or cursor.
    """
    place = _place_of(runs.criteria, name)
    changes = _changes(store, runs, place, change)
    left = changes[_start(changes, after) :]
    page: list[ChangedRow] = []
    size = 0
    for index, gained in left[:limit]:
        row = _row(store, runs, place, index, gained)
        size += len(row.model_dump_json())
        if page and size > PAGE_BYTES:
            break
        page.append(row)
    return page, len(page) < len(left)


def _completed(session: Session, project_id: str, eval_id: str, run_id: str, param: str) -> Task:
    run = queries.find(session, project_id, eval_id, run_id)
    if run is None:
        message = f"No such run of the eval {eval_id}: {run_id[:128]}"
        raise NotFound(message, code="eval_run_not_found", param=param)
    if run.status != "succeeded":
        raise Conflict(
            f"The run {run_id} is {STATUSES[run.status]}. Runs can be compared once both have completed.",
            code="eval_run_not_completed",
            param=param,
        )
    return run


def _place_of(criteria: Sequence[Criterion], name: str) -> int:
    """Return the place of a criterion in the eval. Raises InvalidRequest."""
    names = [criterion.name for criterion in criteria]
    if name not in names:
        raise InvalidRequest(
            f"The eval has no criterion '{name[:64]}'. It has: {', '.join(names)}.",
            code="invalid_value",
            param="criterion",
        )
    return names.index(name)


def _changes(store: ObjectStore, runs: Compared, place: int, change: Change) -> list[tuple[int, float]]:
    """Return the places of the rows that changed so, each with its change. The largest change comes first."""
    criterion, sign = runs.criteria[place], 1 if change == "better" else -1
    gains = [
        (base.index, gain(criterion, base.results[place].score, tuned.results[place].score))
        for base, tuned in rows_of_both(store, runs.base, runs.tuned)
        if base.results and tuned.results
    ]
    changed = [(index, gained) for index, gained in gains if sign * gained > 0]
    return sorted(changed, key=lambda each: (-sign * each[1], each[0]))


def _start(changes: Sequence[tuple[int, float]], after: str | None) -> int:
    """Return how many of the changes come before the page. Raises InvalidRequest."""
    if after is None:
        return 0
    ids = [_id(index) for index, _ in changes]
    if after not in ids:
        raise unknown_cursor(after)
    return ids.index(after) + 1


def _row(store: ObjectStore, runs: Compared, place: int, index: int, gained: float) -> ChangedRow:
    base, tuned = _record(store, runs.base, index), _record(store, runs.tuned, index)
    return ChangedRow(
        id=_id(index),
        datasource_item_id=index,
        datasource_item=base.item,
        change=gained,
        base=RowOfRun.of(runs.base, base, place),
        tuned=RowOfRun.of(runs.tuned, tuned, place),
    )


def _record(store: ObjectStore, run: Task, index: int) -> Record:
    record = read_one(store, run, index)
    if record is None:  # the file was read a moment ago, and had it
        raise NotFound(f"Row {index} of {run.id} is no longer stored.", code="content_missing")
    return record


def _id(index: int) -> str:
    return f"row-{index}"
