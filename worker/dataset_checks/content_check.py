"""Checks the content of a dataset row by row, and then the rows against each other."""

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.datasets.checks.report import ContentReport
from core.datasets.findings import Finding, quote
from core.datasets.kinds import Kind
from core.datasets.row_check import RowCheck, ignored_keys
from worker.dataset_checks.all_rows.across_rows import compare_rows, compare_with_validation
from worker.dataset_checks.all_rows.answers import AnswerCounts, find_imbalance
from worker.dataset_checks.all_rows.columns import Columns, RowLengths
from worker.dataset_checks.all_rows.languages import Languages, find_mix, forget_model
from worker.dataset_checks.all_rows.lengths import (
    BYTES_PER_TOKEN,
    find_cuts,
    find_long_prompts,
    find_outliers,
    lengths_of,
)
from worker.dataset_checks.all_rows.placeholders import Placeholders
from worker.dataset_checks.all_rows.speakers import Speakers
from worker.dataset_checks.finding_log import FindingLog
from worker.dataset_checks.one_row.contents import Contents, contents_of
from worker.dataset_checks.one_row.examples import shown_row
from worker.dataset_checks.one_row.private_data import MENDS, WELL_KNOWN, ControlTokens, suspects
from worker.dataset_checks.one_row.tool_calls import wrong_calls

EXAMPLES = 3
TOOL_MARK = b'"tool_calls"'
ROWS_BESIDE_A_MODEL = 100_000  # of more rows, the comparison needs the memory of the languages' model


@dataclass(frozen=True)
class Checked:
    """A report, and the rows that a mended copy leaves out: `left_out` is true at their positions, from 0.

    `bad_rows_left_out` of them are rows that no job takes, because they teach nothing.
    """

    report: ContentReport
    kind: Kind | None
    left_out: NDArray[np.bool_]
    bad_rows_left_out: int


class RowsOfFile:
    """The rows of one file: correct ones as columns, and the others as findings."""

    def __init__(self, bytes_per_token: float = BYTES_PER_TOKEN, kind: Kind | None = None) -> None:
        """`kind` is that of a file that was checked before. Otherwise its first row shows it."""
        self.columns = Columns()
        self.rows = self.bad_rows = 0
        self.bytes_per_token = bytes_per_token
        self._row_check = RowCheck()
        self._row_check.kind = kind

    @property
    def kind(self) -> Kind | None:
        return self._row_check.kind

    def read(self, number: int, line: bytes | Finding) -> tuple[dict[str, Any], Contents] | list[Finding]:
        """Take the next row. Returns it with its contents, or what makes it a row that no job takes."""
        self.rows += 1
        findings = [line] if isinstance(line, Finding) else self._row_check.findings(line)
        kind, row = self._row_check.kind, self._row_check.row
        if findings or kind is None or row is None:
            self.bad_rows += 1
            return findings
        return row, self._take(number, row, kind)

    def take(self, number: int, row: dict[str, Any]) -> Contents:
        """Take the next row of a file that was checked before."""
        assert self.kind is not None
        self.rows += 1
        return self._take(number, row, self.kind)

    def _take(self, number: int, row: dict[str, Any], kind: Kind) -> Contents:
        contents = contents_of(row, kind)
        self.columns.add(self.rows - 1, number, contents, self.bytes_per_token)
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
        kind: Kind | None = None,
    ) -> None:
        """`kind` is that of a file that was checked before."""
        self._validation, self._max_length = validation, max_length
        self._file = RowsOfFile(bytes_per_token, kind)
        self._control_tokens = WELL_KNOWN
        self._log = FindingLog()
        self._answers = AnswerCounts()
        self._speakers = Speakers()
        self._placeholders = Placeholders()
        self._languages = Languages()
        self._examples: list[dict[str, Any]] = []
        self._nothing_learnt = array("I")
        self._bad_rows_left_out = 0

    @property
    def file(self) -> RowsOfFile:
        """The rows that were added."""
        return self._file

    def know_tokens(self, control_tokens: Iterable[str]) -> None:
        """Look for the control tokens of a base model, too."""
        self._control_tokens = ControlTokens(control_tokens)

    def measure(self, index: int, lengths: RowLengths) -> None:
        """Take in the measured lengths of the row at an index of the columns."""
        rows = self._file.columns
        line = int(rows.lines[index])
        if lengths.refusal is not None:
            mend = "mend the row, or take another base model"
            self._log.add("refused_by_template", line, "", lengths.refusal, mend)
            return
        rows.measure(index, lengths)
        if not lengths.is_learnt and lengths.tokens <= (self._max_length or lengths.tokens):
            message = "the base model's template leaves nothing to learn, so training leaves the row out"
            self._log.add("nothing_learnt", line, "", message, "write an answer, or give it a weight above 0")

    def take_row(self, number: int, row: dict[str, Any]) -> None:
        """Check the next row of a file that was checked before."""
        self._add_contents(number, self._file.take(number, row))

    def add(self, number: int, line: bytes | Finding) -> Contents | None:
        """Check the next row: the line `number` of the file, without its line end.

        Returns its contents, or None if no job takes it.
        """
        found = self._file.read(number, line)
        if isinstance(found, tuple):
            assert isinstance(line, bytes)
            assert self._file.kind is not None
            row, contents = found
            self._add_contents(number, contents)
            self._add_row(number, row)
            if TOOL_MARK in line:
                for finding in wrong_calls(row, self._file.kind):
                    self._log.add(finding.code, number, finding.field, finding.message, finding.mend)
            return contents
        for mistake in found:
            self._log.add(mistake.code, number, mistake.field, mistake.message, "mend or remove the row")
        if [mistake.code for mistake in found] == ["nothing_to_learn"]:
            self._nothing_learnt.append(self._file.rows - 1)
            self._bad_rows_left_out += 1
        return None

    def finish(self, chosen: Sequence[int] = ()) -> Checked:
        """Compare the rows with each other, and return the report on them all.

        A mended copy leaves the rows at the positions `chosen` out too, whatever is found on them.
        """
        rows, kind, log = self._file.columns, self._file.kind, self._log
        left_out = np.zeros(self._file.rows, bool)
        left_out[list(self._nothing_learnt)] = True
        left_out[list(chosen)] = True
        answers = self._answers.few()
        find_mix(self._languages, log)
        if len(rows) > ROWS_BESIDE_A_MODEL:
            forget_model()
        if len(rows):
            left_out[compare_rows(rows, kind, log)] = True
            find_outliers(rows, log)
        if len(rows) and self._validation is not None and len(self._validation.columns):
            left_out[compare_with_validation(rows, self._validation.columns, kind, log)] = True
        if self._max_length is not None:
            find = find_long_prompts if kind == "prompt" else find_cuts
            find(rows, self._max_length, log)
        if answers is not None:
            find_imbalance(answers, log)
        self._speakers.finish(log)
        self._placeholders.finish(log)
        report = ContentReport(
            kind=kind,
            rows=self._file.rows,
            bad_rows=self._file.bad_rows,
            validation_rows=self._validation.rows if self._validation else None,
            counts=log.counts(),
            findings=log.findings(),
            lengths=lengths_of(rows, self._file.bytes_per_token) if len(rows) else None,
            answers=answers,
            languages=self._languages.found(),
            mendable_rows=int(left_out.sum()),
            examples=self._examples,
        )
        return Checked(report, kind, left_out, self._bad_rows_left_out)

    def _add_row(self, number: int, row: dict[str, Any]) -> None:
        assert self._file.kind is not None
        for key in ignored_keys(row, self._file.kind):
            message = f"the key {quote(key)} means nothing here, and is ignored"
            self._log.add("ignored_key", number, "", message, "check its spelling, or remove it")
        if len(self._examples) < EXAMPLES:
            self._examples.append(shown_row(row))

    def _add_contents(self, number: int, row: Contents) -> None:
        if row.answer is not None:
            self._answers.add(row.answer)
        self._speakers.add(number, row.texts)
        self._placeholders.add(number, row.texts)
        self._languages.add(number, row)
        for field, role, text in row.texts:
            for code, what in suspects(text, self._control_tokens):
                self._log.add(code, number, field, what, MENDS[code])
            if role == "assistant" and text.isspace():
                mend = "write the answer, or remove the message"
                self._log.add("blank_answer", number, field, "the answer has spaces only", mend)
        has_answer = row.answer is not None
        if has_answer and all(text.isspace() for _, role, text in row.texts if role == "assistant"):
            self._nothing_learnt.append(self._file.rows - 1)
