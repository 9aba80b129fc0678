"""Checks the content of a dataset row by row, and then the rows against each other."""

from array import array
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from core.datasets.checks.across_rows import compare_rows, compare_with_validation
from core.datasets.checks.answers import AnswerCounts, find_imbalance
from core.datasets.checks.columns import Columns
from core.datasets.checks.contents import Contents, contents_of
from core.datasets.checks.examples import shown_row
from core.datasets.checks.finding_log import FindingLog
from core.datasets.checks.lengths import BYTES_PER_TOKEN, find_cuts, find_outliers, lengths_of
from core.datasets.checks.private_data import MENDS, suspects
from core.datasets.checks.report import ContentReport
from core.datasets.checks.tool_calls import undeclared_calls
from core.datasets.findings import Finding, quote
from core.datasets.kinds import Kind
from core.datasets.row_check import RowCheck

EXAMPLES = 3
TOOL_MARK = b'"tool_calls"'

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True)
class Checked:
    """A report, and the rows that a mended copy leaves out: `left_out` is true at their places, from 0.

    `bad_rows_left_out` of them are rows that no job takes, because they teach nothing.
    """

    report: ContentReport
    kind: Kind | None
    left_out: NDArray[np.bool_]
    bad_rows_left_out: int


class RowsOfFile:
    """The rows of one file: correct ones as columns, and the others as findings."""

    def __init__(self, bytes_per_token: float = BYTES_PER_TOKEN) -> None:
        self.columns = Columns()
        self.rows = self.bad_rows = 0
        self._bytes_per_token = bytes_per_token
        self._row_check = RowCheck()

    @property
    def kind(self) -> Kind | None:
        return self._row_check.kind

    def read(self, number: int, line: bytes | Finding) -> Contents | list[Finding]:
        """Take the next row. Returns its contents, or what makes it a row that no job takes."""
        self.rows += 1
        findings = [line] if isinstance(line, Finding) else self._row_check.findings(line)
        if isinstance(line, Finding) or findings or self._row_check.kind is None:
            self.bad_rows += 1
            return findings
        contents = contents_of(_decode(line), self._row_check.kind)
        self.columns.add(self.rows - 1, number, contents, self._bytes_per_token)
        return contents


class ContentCheck:
    """A check of one file: give `add` each of its rows, and call `finish`.

    `validation` has the rows of a validation file, read before. Each row takes 104 bytes of memory.
    """

    def __init__(
        self,
        validation: RowsOfFile | None = None,
        max_length: int | None = None,
        bytes_per_token: float = BYTES_PER_TOKEN,
    ) -> None:
        self._validation, self._max_length = validation, max_length
        self._bytes_per_token = bytes_per_token
        self._file = RowsOfFile(bytes_per_token)
        self._log = FindingLog()
        self._answers = AnswerCounts()
        self._examples: list[dict[str, Any]] = []
        self._nothing_learnt = array("I")
        self._bad_rows_left_out = 0

    def add(self, number: int, line: bytes | Finding) -> None:
        """Check the next row: the line `number` of the file, without its line end."""
        found = self._file.read(number, line)
        if isinstance(line, bytes) and TOOL_MARK in line:
            self._add_tool_findings(number, line)
        if isinstance(found, Contents):
            self._add_contents(number, found)
            if len(self._examples) < EXAMPLES and isinstance(line, bytes):
                self._examples.append(shown_row(_decode(line)))
            return
        for finding in found:
            self._log.add(finding.code, number, finding.field, finding.message, "mend or remove the row")
        if [finding.code for finding in found] == ["nothing_to_learn"]:
            self._nothing_learnt.append(self._file.rows - 1)
            self._bad_rows_left_out += 1

    def finish(self) -> Checked:
        """Compare the rows with each other, and return the report on them all."""
        rows, log = self._file.columns, self._log
        left_out = np.zeros(self._file.rows, bool)
        left_out[list(self._nothing_learnt)] = True
        answers = self._answers.few()
        if len(rows):
            left_out[compare_rows(rows, log)] = True
            find_outliers(rows, log)
        if len(rows) and self._validation is not None and len(self._validation.columns):
            left_out[compare_with_validation(rows, self._validation.columns, log)] = True
        if self._max_length is not None:
            find_cuts(rows, self._max_length, log)
        if answers is not None:
            find_imbalance(answers, log)
        report = ContentReport(
            kind=self._file.kind,
            rows=self._file.rows,
            bad_rows=self._file.bad_rows,
            validation_rows=self._validation.rows if self._validation else None,
            counts=log.counts(),
            findings=log.findings(),
            lengths=lengths_of(rows, self._bytes_per_token) if len(rows) else None,
            answers=answers,
            mendable_rows=int(left_out.sum()),
            examples=self._examples,
        )
        return Checked(report, self._file.kind, left_out, self._bad_rows_left_out)

    def _add_contents(self, number: int, row: Contents) -> None:
        self._answers.add(row.answer)
        for field, role, text in row.texts:
            for code, what in suspects(text):
                self._log.add(code, number, field, what, MENDS[code])
            if role == "assistant" and text.isspace():
                mend = "write the answer, or remove the message"
                self._log.add("blank_answer", number, field, "the answer has spaces only", mend)
        if all(text.isspace() for _, role, text in row.texts if role == "assistant"):
            self._nothing_learnt.append(self._file.rows - 1)

    def _add_tool_findings(self, number: int, line: bytes) -> None:
        try:
            row = _decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return  # the row's own finding says so
        for field, name in undeclared_calls(row):
            message = f"the row calls {quote(name)}, which none of its tools declares"
            self._log.add("undeclared_tool", number, field, message, "declare the tool, or remove the call")
