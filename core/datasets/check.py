"""Checks a dataset as a stream of bytes, and describes what is wrong with it."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from core.datasets.findings import Finding
from core.datasets.images import ImageCheck, bytes_without_images
from core.datasets.kinds import Kind
from core.datasets.reader import RowReader, too_long
from core.datasets.row_check import RowCheck
from core.datasets.template_needs import Need

MIN_ROWS = 10  # in the smallest dataset that a job takes
DESCRIBED_ROWS = 3
MAX_BAD_ROWS = 10_000  # at so many bad rows the check stops, and does not read the rest of the file


class RowFinding(NamedTuple):
    """A `Finding` with the number of its line, counted from 1."""

    line: int
    field: str
    code: str
    message: str


@dataclass(frozen=True)
class Report:
    """The result of a check.

    `rows` counts every line that is not blank, correct or not. `findings` holds the first `max_findings`
    findings. `finding_count` counts all findings, but at most 20 of one row. `bad_rows` counts the rows that
    have findings. If `stopped`, the check ended at 10,000 bad rows, and the counts cover only the part of the
    file that was read. `kind` is None if no row shows it. `needs` has the first line that needs each of them.
    `longest_line` has the bytes of the longest line.
    """

    rows: int
    kind: Kind | None
    findings: list[RowFinding]
    finding_count: int
    bad_rows: int
    stopped: bool
    needs: dict[Need, int] = field(default_factory=dict)
    longest_line: int = 0

    @property
    def ok(self) -> bool:
        return self.finding_count == 0


class DatasetCheck:
    """A check of one file: call `feed` with its bytes, in chunks of any size, and then `finish`.

    The memory that it needs does not grow with the file. It keeps `max_findings` findings and one row of at
    most `max_row_bytes`. While a row is decoded, it takes up to 25 times its size. No content of a file makes
    it raise an error.
    """

    def __init__(
        self,
        max_row_bytes: int,
        max_findings: int = 100,
        kind: Kind | None = None,
        images: ImageCheck | None = None,
    ) -> None:
        """`kind` is that of a file that the server makes. Otherwise its first row shows it.

        `max_row_bytes` does not count images, which `images` checks. Without it, only their form is checked,
        and their bytes count.
        """
        self.max_findings = max_findings
        self._max_row_bytes = max_row_bytes
        self._reader = RowReader(max_row_bytes + (images.max_row_bytes if images else 0))
        self._row_check = RowCheck(images.look if images else None)
        self._row_check.kind = kind
        self._rows = self._finding_count = self._bad_rows = 0
        self._findings: list[RowFinding] = []
        self._needs: dict[Need, int] = {}
        self._longest_line = 0

    @property
    def _stopped(self) -> bool:
        return self._bad_rows >= MAX_BAD_ROWS

    def feed(self, chunk: bytes) -> None:
        self._take(self._reader.feed(chunk))

    def finish(self) -> Report:
        """Return the report on all bytes that were fed. Call it once, at the end."""
        self._take(self._reader.finish())
        if not self._rows:
            self._add(
                1, [Finding("", "empty_file", "the file has no rows; write one JSON object on each line")]
            )
        return Report(
            rows=self._rows,
            kind=self._row_check.kind,
            findings=self._findings,
            finding_count=self._finding_count,
            bad_rows=self._bad_rows,
            stopped=self._stopped,
            needs=self._needs,
            longest_line=self._longest_line,
        )

    def _take(self, lines: Iterable[tuple[int, bytes | Finding]]) -> None:
        if self._stopped:
            return
        for number, line in lines:
            self._rows += 1
            if isinstance(line, Finding):
                findings = [line]
            elif len(line) > self._max_row_bytes and bytes_without_images(line) > self._max_row_bytes:
                findings = [too_long(self._max_row_bytes)]
            else:
                findings = self._row_check.findings(line)
                self._longest_line = max(self._longest_line, len(line))
            for need in self._row_check.needs:
                self._needs.setdefault(need, number)
            if findings:
                self._add(number, findings)
                if self._stopped:
                    return

    def _add(self, number: int, findings: list[Finding]) -> None:
        room = self.max_findings - len(self._findings)
        self._findings += [RowFinding(number, *finding) for finding in findings[:room]]
        self._finding_count += len(findings)
        self._bad_rows += 1


def describe(report: Report, numbered_by: str = "line") -> str:
    """Return sentences for a client: the first finding of each of the first 3 bad rows.

    `numbered_by` says what their numbers count. A last sentence counts the other bad rows. The text is empty
    if the report has no findings.
    """
    first: dict[int, RowFinding] = {}
    for finding in report.findings:
        first.setdefault(finding.line, finding)
    shown = list(first.values())[:DESCRIBED_ROWS]
    sentences = [
        f"{numbered_by.capitalize()} {f.line}{f.field and ', ' + f.field}: {f.message}." for f in shown
    ]
    more = report.bad_rows - len(shown)
    if more:
        count = f"{'At least ' if report.stopped else ''}{more:,}"
        sentences.append(f"{count} more {'row has' if more == 1 else 'rows have'} errors.")
    return " ".join(sentences)


def read_rows(stream: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the row of each line of a checked file, given in chunks cut anywhere.

    Raises ValueError if the bytes cannot be those of a checked file. Its message names the line.
    """
    reader = RowReader(max_row_bytes=sys.maxsize)
    decode = msgspec.json.Decoder(dict[str, Any]).decode
    for number, line in chain(chain.from_iterable(map(reader.feed, stream)), reader.finish()):
        if isinstance(line, Finding):
            raise ValueError(f"line {number}: {line.message}")
        try:
            yield number, decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ValueError(f"line {number}: {error}") from error
