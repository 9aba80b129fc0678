"""Checks one file, against a validation file if there is one, and makes a mended copy if it is wanted."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core.datasets.checks.report import ContentReport
from core.datasets.checks.requests import CheckRequest
from core.datasets.findings import Finding
from core.jobs import token_counts
from core.tables import File
from worker.dataset_checks.content_check import Checked, ContentCheck, RowsOfFile
from worker.tasks.datasets.made_file import CONTENT, Rows, made_file
from worker.tasks.datasets.measuring import Measuring
from worker.tasks.datasets.reading import Phase, file_of, most_bytes, open_rows
from worker.tasks.frame.work import Work

VALIDATION = Phase("reading the validation file", 0.0, 0.1)
ROWS = Phase("reading the rows", 0.1, 0.7)
COMPARING = 0.7
MENDED = Phase("writing the mended copy", 0.8, 0.94)
MOST_ROWS = 4_000_000  # of both files together; they take less than a gigabyte of memory


def check_file(work: Work, folder: Path) -> ContentReport:
    """Check the task's file, and return the report. A mended copy is written into the folder."""
    request: CheckRequest = work.request
    file = file_of(work, str(work.task.file_id), "file_id")
    validation = _validation_rows(work, request)
    check = ContentCheck(validation, request.max_length)
    dataset = open_rows(work, file, ROWS, MOST_ROWS - (validation.rows if validation else 0))
    unwanted, chosen = set(request.leave_out), []
    with _measuring(work, request, check) as measuring:
        for position, (number, line) in enumerate(dataset.rows):
            row = check.add(number, line)
            if number in unwanted:
                chosen.append(position)
            if measuring is not None and row is not None and isinstance(line, bytes):
                measuring.add(number, line, row)
    if measuring is not None and (count := measuring.count(file.id)) is not None:
        with work.sessions.begin() as session:  # estimates of jobs on the file are exact from now on
            token_counts.keep(session, count)
    work.progress("comparing the rows", COMPARING)
    checked = check.finish(chosen)
    found = dataset.format
    seen = {"format": found.name, "container": found.container, "numbered_by": found.numbered_by}
    report = checked.report.model_copy(update=seen)
    if request.mend:
        reason = _reason_against(checked)
        report = report.model_copy(update={"not_mended": reason})
        if reason is None:
            _mend(work, request, file, checked, folder)
    return report


@contextmanager
def _measuring(work: Work, request: CheckRequest, check: ContentCheck) -> Iterator[Measuring | None]:
    """Yield what measures rows, if the request names a base model. At the end, all rows are measured."""
    if request.model is None or request.max_length is None:
        yield None
        return
    measuring = Measuring(check, work.settings, request.model, request.max_length)
    try:
        yield measuring
        measuring.finish()
    finally:
        measuring.close()


def _validation_rows(work: Work, request: CheckRequest) -> RowsOfFile | None:
    if request.validation_file is None:
        return None
    file = file_of(work, request.validation_file, "validation_file")
    rows = RowsOfFile()
    for number, line in open_rows(work, file, VALIDATION, MOST_ROWS, "validation_file").rows:
        rows.read(number, line)
    return rows


def _reason_against(checked: Checked) -> str | None:
    """Return why there is no mended copy, or None."""
    wrong = checked.report.bad_rows - checked.bad_rows_left_out
    if wrong:
        return f"{wrong:,} rows are not rows that a job takes: mend them in the file itself first"
    if not checked.report.mendable_rows:
        return "the file has no row that a mended copy would leave out"
    if checked.report.mendable_rows == checked.report.rows:
        return "a mended copy would have no row"
    return None


def _mend(work: Work, request: CheckRequest, file: File, checked: Checked, folder: Path) -> None:
    """Write the rows that stay: as they are, or converted if the file has another format."""
    read = open_rows(work, file, MENDED, MOST_ROWS).rows
    assert checked.kind is not None
    with (folder / CONTENT).open("wb") as content:
        written = Rows(content, most_bytes(work, file))
        for left_out, (_, line) in zip(checked.left_out, read, strict=True):
            if not left_out and not isinstance(line, Finding):
                written.write(line, checked.kind)
    removed = checked.report.mendable_rows
    lineage = {"validation_file": request.validation_file, "left_out": removed}
    work.made = made_file(work, file, word="mended", rows=written, kind=checked.kind, lineage=lineage)
