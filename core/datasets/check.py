"""Checks a dataset while it streams past, and says what is wrong with it."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from core.datasets.findings import Finding
from core.datasets.judge import RowJudge
from core.datasets.kinds import Kind
from core.datasets.reader import RowReader

MIN_ROWS = 10  # a job's smallest dataset
DESCRIBED_ROWS = 3
MAX_BAD_ROWS = 10_000  # a file of nothing but mistakes is not worth reading to its end


class RowFinding(NamedTuple):
    """A `Finding` and the line that it is on, counted from 1."""

    line: int
    field: str
    code: str
    message: str


@dataclass(frozen=True)
class Report:
    """What a check found.

    `rows` counts every line that is not blank, right or wrong. `findings` holds the first `max_findings`;
    `finding_count` and `bad_rows` count them all, though no more than 20 findings of one row. `stopped` tells
    that the check gave up at 10,000 bad rows: the counts then speak of the part that it read. `kind` is None
    where no row tells it.
    """

    rows: int
    kind: Kind | None
    findings: list[RowFinding]
    finding_count: int
    bad_rows: int
    stopped: bool

    @property
    def ok(self) -> bool:
        return self.finding_count == 0


class DatasetCheck:
    """Feed it a file's bytes in chunks of any size, then ask for the report.

    Memory does not grow with the file: it keeps one row of at most `max_row_bytes`, which can take 25 times
    that while it is decoded, and `max_findings` findings. Nothing in the bytes makes it raise.
    """

    def __init__(self, max_row_bytes: int, max_findings: int = 100) -> None:
        self.max_findings = max_findings
        self._reader = RowReader(max_row_bytes)
        self._judge = RowJudge()
        self._rows = self._finding_count = self._bad_rows = 0
        self._findings: list[RowFinding] = []

    @property
    def _stopped(self) -> bool:
        return self._bad_rows >= MAX_BAD_ROWS

    def feed(self, chunk: bytes) -> None:
        self._take(self._reader.feed(chunk))

    def finish(self) -> Report:
        """The report on all that was fed. Call it once, at the end."""
        self._take(self._reader.finish())
        if not self._rows:
            self._add(
                1, [Finding("", "empty_file", "the file holds no row; write one JSON object on each line")]
            )
        return Report(
            rows=self._rows,
            kind=self._judge.kind,
            findings=self._findings,
            finding_count=self._finding_count,
            bad_rows=self._bad_rows,
            stopped=self._stopped,
        )

    def _take(self, lines: Iterable[tuple[int, bytes | Finding]]) -> None:
        if self._stopped:
            return
        for number, line in lines:
            self._rows += 1
            findings = [line] if isinstance(line, Finding) else self._judge.findings(line)
            if findings:
                self._add(number, findings)
                if self._stopped:
                    return

    def _add(self, number: int, findings: list[Finding]) -> None:
        room = self.max_findings - len(self._findings)
        self._findings += [RowFinding(number, *finding) for finding in findings[:room]]
        self._finding_count += len(findings)
        self._bad_rows += 1


def describe(report: Report) -> str:
    """The sentences for a client: the first mistake of each of the first bad rows, and how many more are bad.

    Empty where the report has no findings.
    """
    first: dict[int, RowFinding] = {}
    for finding in report.findings:
        first.setdefault(finding.line, finding)
    shown = list(first.values())[:DESCRIBED_ROWS]
    sentences = [f"Line {f.line}{f.field and ', ' + f.field}: {f.message}." for f in shown]
    more = report.bad_rows - len(shown)
    if more:
        count = f"{'At least ' if report.stopped else ''}{more:,}"
        sentences.append(f"{count} more {'row has' if more == 1 else 'rows have'} errors.")
    return " ".join(sentences)


def read_rows(stream: Iterable[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and rows of a file that was checked, given in chunks cut anywhere.

    Raises ValueError, which names the line, where the bytes are not those of a checked file.
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
