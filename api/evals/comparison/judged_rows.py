"""Reads the scores of two runs side by side from their files, a row at a time.

A run may have ten thousand rows of a megabyte each, so only scores are kept. They are read into structs,
which take less memory and time than the records of `core.evals.results`.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from api.evals.output_items.reading import lines_of
from core.errors import InvalidRequest
from core.evals.results import RowResult
from core.evals.run_request import RunRequest
from core.storage.object_store import ObjectStore
from core.tables import Task


class Judged(msgspec.Struct, gc=False):
    """The score that one criterion gives one row."""

    name: str
    type: str
    score: float
    passed: bool
    counts: dict[str, Any] | None = None

    @property
    def result(self) -> RowResult:
        """The score as the statistics take it."""
        return RowResult.model_construct(**msgspec.structs.asdict(self))


class JudgedRow(msgspec.Struct):
    """What a run found for one row, in a record of so many bytes.

    `results` is empty if the row could not be judged.
    """

    index: int
    item: msgspec.Raw
    results: list[Judged] = []
    bytes: int = 0


_decode = msgspec.json.Decoder(JudgedRow).decode


def rows_of_both(store: ObjectStore, base: Task, tuned: Task) -> Iterator[tuple[JudgedRow, JudgedRow]]:
    """Yield each row as both runs have judged it.

    Raises InvalidRequest if they have judged other rows, and NotFound if the store has lost a file.
    """
    samples = samples_per_row(base), samples_per_row(tuned)
    if samples[0] != samples[1]:
        raise _different(f"{base.id} has {samples[0]} samples of each row, and {tuned.id} {samples[1]}")
    totals = [(run.report or {}).get("total") for run in (base, tuned)]
    if totals[0] != totals[1]:
        raise _different(f"{base.id} has judged {totals[0]} rows, and {tuned.id} {totals[1]}")
    for pair in zip(_rows(store, base), _rows(store, tuned), strict=True):
        if pair[0].index != pair[1].index or not _is_same_item(*pair):
            raise _different(f"row {pair[0].index + 1} is another one in {tuned.id} than in {base.id}")
        yield pair


def samples_per_row(run: Task) -> int:
    """Return how often a run has sampled each row."""
    return RunRequest.model_validate(run.request).data_source.samples_per_row


def _rows(store: ObjectStore, run: Task) -> Iterator[JudgedRow]:
    for name in sorted(file["name"] for file in run.files):
        for line in lines_of(store, run, name):
            row = _decode(line)
            row.bytes = len(line)
            yield row


def _is_same_item(base: JudgedRow, tuned: JudgedRow) -> bool:
    """Return whether both rows have the same item. Equal items usually have equal bytes."""
    return base.item == tuned.item or msgspec.json.decode(base.item) == msgspec.json.decode(tuned.item)


def _different(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"The two runs have not judged the same rows: {reason}. Compare two runs on the same data source, "
        "with the same limit and the same 'n'.",
        code="different_rows",
        param="tuned",
    )
