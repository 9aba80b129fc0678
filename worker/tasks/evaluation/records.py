"""The records of a run in files of 100 rows, each uploaded as soon as it is finished.

So another process goes on from what an earlier one has uploaded. It takes a file only if the file is whole
and its items are still those of the data source.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import structlog

from core.evals.criteria import Criterion
from core.evals.results import (
    ROWS_IN_A_FILE,
    CriterionResult,
    ItemStatus,
    ModelUsage,
    Record,
    RowResult,
    RunReport,
    StatusCounts,
    count_in_file,
    file_of,
)
from core.evals.statistics.summary import summarise
from core.storage.object_store import tasks_prefix
from worker.grading.usage import UsageSums
from worker.tasks.evaluation.rows.items import Items
from worker.tasks.frame.work import Work

log = structlog.get_logger()


class Records:
    """The records that are finished: on the disk and in the store, and in memory what sums them up."""

    def __init__(self, work: Work, folder: Path, items: Items, criteria: Sequence[Criterion]) -> None:
        """The files are written into `folder`."""
        self._work, self._folder, self._items, self._criteria = work, folder, items, criteria
        self._open: dict[str, dict[int, str]] = {}
        self._sums = _Sums(criteria, items.samples)
        self._done: set[int] = set()

    @property
    def done(self) -> int:
        return len(self._done)

    @property
    def missing(self) -> list[int]:
        """The rows that have no record yet."""
        return [index for index in range(len(self._items)) if index not in self._done]

    def resume(self) -> None:
        """Take over what earlier attempts have uploaded. Raises STORE_ERRORS."""
        prefix = tasks_prefix(self._work.task.kind, self._work.task.id)
        for key in self._work.store.list(prefix):
            name = key.rpartition("/")[2]
            first = self._first_row(name)
            if first is None or first in self._done:
                continue
            with suppress(FileNotFoundError):
                content = b"".join(self._work.store.read(key))
                records = self._checked(content, first)
                if records is None:
                    log.warning("records_not_resumed", task=self._work.task.id, key=key)
                    continue
                (self._folder / name).write_bytes(content)
                for record in records:
                    self._note(record)

    def add(self, record: Record) -> str | None:
        """Add a row's record. Return the name of the file that it completes, which is then to be uploaded."""
        name = file_of(record.index)
        lines = self._open.setdefault(name, {})
        lines[record.index] = record.model_dump_json() + "\n"
        self._note(record)
        if len(lines) < len(self._rows_of(record.index)):
            return None
        (self._folder / name).write_text("".join(lines[index] for index in sorted(lines)), "utf-8")
        del self._open[name]
        return name

    def upload(self, name: str) -> None:
        """Upload a finished file. Raises STORE_ERRORS, and JobError if it does not fit into the quota."""
        self._work.check_room(self._folder)
        self._work.store.put_file(self._work.prefix + name, self._folder / name)

    def report(self) -> RunReport:
        """Return what was found. All rows must be done."""
        return self._sums.report(self.done)

    def _note(self, record: Record) -> None:
        self._done.add(record.index)
        self._sums.add(record)

    def _rows_of(self, index: int) -> range:
        """Return the rows that are in the same file."""
        first = index - index % ROWS_IN_A_FILE
        return range(first, min(first + ROWS_IN_A_FILE, len(self._items)))

    def _first_row(self, name: str) -> int | None:
        """Return the first row of the file with this name, or None if no file of this run has it."""
        return next((i for i in range(0, len(self._items), ROWS_IN_A_FILE) if file_of(i) == name), None)

    def _checked(self, content: bytes, first: int) -> list[Record] | None:
        """Return the records of a file, or None if the file is not whole or has other items than now."""
        try:
            records = [Record.model_validate_json(line) for line in content.splitlines()]
        except ValueError:
            return None
        rows = self._rows_of(first)
        whole = [record.index for record in records] == list(rows)
        judged = all(
            record.error is not None or len(record.results) == len(self._criteria) for record in records
        )
        same = whole and all(record.item == self._items[record.index].item for record in records)
        return records if judged and same else None


class _Sums:
    """What the report of a run follows from."""

    def __init__(self, criteria: Sequence[Criterion], samples: int) -> None:
        self._criteria, self._samples = criteria, samples
        self._results: list[list[tuple[int, RowResult]]] = [[] for _ in criteria]
        self._usage = UsageSums()
        self._by_file: dict[str, StatusCounts] = {}

    def add(self, record: Record) -> None:
        count_in_file(record, self._by_file)
        for results, result in zip(self._results, record.results, strict=False):
            results.append((record.index, result.model_copy(update={"sample": None})))
        for used in record.usage:
            self._usage.add(used)

    def report(self, total: int) -> RunReport:
        return RunReport(
            total=total,
            passed=self._with_status("pass"),
            failed=self._with_status("fail"),
            errored=self._with_status("error"),
            criteria=list(self._summaries()),
            usage=self._used(),
            by_file=self._by_file,
        )

    def _with_status(self, status: ItemStatus) -> int:
        return sum(counts.get(status, 0) for counts in self._by_file.values())

    def _summaries(self) -> Iterator[CriterionResult]:
        for criterion, results in zip(self._criteria, self._results, strict=True):
            ordered = sorted(results, key=lambda each: each[0])
            rows = [index // self._samples for index, _ in ordered]
            yield summarise(criterion, [result for _, result in ordered], rows, self._samples)

    def _used(self) -> list[ModelUsage]:
        return sorted(self._usage.by_model, key=lambda used: used.model_name)
