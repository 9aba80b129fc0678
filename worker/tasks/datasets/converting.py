"""Converts one file of another format into a dataset that a job takes."""

from pathlib import Path
from typing import Any

import msgspec

from core.datasets.check import MAX_BAD_ROWS, Report, RowFinding, describe
from core.datasets.findings import Finding
from core.datasets.formats.conversion import ConversionReport, ConvertRequest
from core.datasets.formats.reading import Dataset
from core.datasets.row_check import RowCheck
from core.errors import JobError
from worker.dataset_checks.one_row.examples import shown_row
from worker.tasks.datasets.made_file import CONTENT, Rows, made_file
from worker.tasks.datasets.reading import Phase, file_of, most_bytes, open_rows
from worker.tasks.frame.work import Work

ROWS = Phase("converting the rows", 0.0, 0.94)
EXAMPLES = 3
MAX_FINDINGS = 100


def convert_file(work: Work, folder: Path) -> ConversionReport:
    """Write the converted file into the folder, and return the report. Raises JobError if rows are wrong."""
    request: ConvertRequest = work.request
    file = file_of(work, str(work.task.file_id), "file_id")
    dataset = open_rows(work, file, ROWS, work.settings.max_training_rows)
    with (folder / CONTENT).open("wb") as content:
        rows = Rows(content, most_bytes(work, file))
        converted = _Converted(rows)
        converted.write(dataset)
    check = converted.result()
    if not check.rows:
        raise JobError("empty_file", "The file has no rows. Check that it is the right one.", "file_id")
    if not check.ok:
        raise JobError("invalid_file_format", describe(check, dataset.format.numbered_by), "file_id")
    found = dataset.format
    lineage = {"container": found.container, "format": found.name}
    made = made_file(work, file, word="converted", rows=rows, kind=check.kind, lineage=lineage)
    made.filename = request.filename or made.filename
    work.made = made
    return ConversionReport(
        container=found.container,
        format=found.name,
        rows=check.rows,
        kind=check.kind,
        examples=converted.examples,
    )


class _Converted:
    """The rows that were written, and what is wrong with the others, by the lines that they come from."""

    def __init__(self, content: Rows) -> None:
        self._content = content
        self._row_check = RowCheck()
        self._rows = self._bad_rows = self._finding_count = 0
        self._findings: list[RowFinding] = []
        self.examples: list[dict[str, Any]] = []

    def write(self, dataset: Dataset) -> None:
        """Write the rows, until too many are wrong."""
        for number, row in dataset.rows:
            self._rows += 1
            findings = [row] if isinstance(row, Finding) else self._row_check.findings(row)
            if findings:
                self._add(number, findings)
                if self._bad_rows == MAX_BAD_ROWS:
                    return
            elif isinstance(row, bytes):
                self._content.write(row, self._row_check.kind or "chat")
                if len(self.examples) < EXAMPLES:
                    self.examples.append(shown_row(msgspec.json.decode(row)))

    def result(self) -> Report:
        return Report(
            rows=self._rows,
            kind=self._row_check.kind,
            findings=self._findings,
            finding_count=self._finding_count,
            bad_rows=self._bad_rows,
            stopped=self._bad_rows == MAX_BAD_ROWS,
        )

    def _add(self, number: int, findings: list[Finding]) -> None:
        room = MAX_FINDINGS - len(self._findings)
        self._findings += [RowFinding(number, *finding) for finding in findings[:room]]
        self._finding_count += len(findings)
        self._bad_rows += 1
