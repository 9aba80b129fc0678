"""The records of a run on the disk, in files of 100 rows, and in memory what sums them up.

The process of a run writes them, and so does a trainer for the validations of a job.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

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
from worker.grading.usage import UsageSums


class RecordFiles:
    """The records that are done, of `total` of a run. `samples` that follow each other have the same row."""

    def __init__(self, folder: Path, total: int, criteria: Sequence[Criterion], samples: int) -> None:
        """The files are written into `folder`."""
        self._folder, self._total = folder, total
        self._open: dict[str, dict[int, str]] = {}
        self._sums = _Sums(criteria, samples)
        self._done: set[int] = set()

    @property
    def done(self) -> int:
        return len(self._done)

    @property
    def missing(self) -> list[int]:
        """The rows that have no record yet."""
        return [index for index in range(self._total) if index not in self._done]

    def add(self, record: Record) -> str | None:
        """Add a row's record. Return the name of the file that it completes and that is now on the disk."""
        name = file_of(record.index)
        lines = self._open.setdefault(name, {})
        lines[record.index] = record.model_dump_json() + "\n"
        self._note(record)
        if len(lines) < len(self._rows_of(record.index)):
            return None
        (self._folder / name).write_text("".join(lines[index] for index in sorted(lines)), "utf-8")
        del self._open[name]
        return name

    def report(self) -> RunReport:
        """Return what was found. All rows must be done."""
        return self._sums.report(self.done)

    def _note(self, record: Record) -> None:
        self._done.add(record.index)
        self._sums.add(record)

    def _rows_of(self, index: int) -> range:
        """Return the rows that are in the same file."""
        first = index - index % ROWS_IN_A_FILE
        return range(first, min(first + ROWS_IN_A_FILE, self._total))


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
