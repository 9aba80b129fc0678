"""Checks a job's rows while they are rendered: what repeats, contradicts, leaks, or should not be taught.

Only the first rows of each file are checked, so that memory and time stay small beside those of rendering.
The rows of the validation file are compared with those of the training file, which the trainer keeps for that
between the two renderings.
"""

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from core.datasets.checks.report import ContentFinding, DataFinding
from worker.dataset_checks.content_check import ContentCheck, RowsOfFile
from worker.rendering.render import Rendering
from worker.rendering.render_request import RenderRequest

CHECKED_ROWS = 100_000
SHOWN_LINES = 10
# Row by row in turn with the rendering, a check would take twice as long: each empties the other one's caches
AT_ONCE, AT_ONCE_BYTES = 64, 4 * 1024**2
# The check sees the validation file's rows, and calls the other file the validation file
LEAKED = {
    "leaked_row": ("the training file has this row", "remove it from one of the two files"),
    "leaked_near_row": (
        "the training file has nearly this row",
        "remove one of the two, or the validation loss tells too little",
    ),
}


class DataCheck:
    """The check of the first rows of one of a job's files."""

    def __init__(self, request: RenderRequest, most_rows: int = CHECKED_ROWS) -> None:
        self._most_rows = most_rows
        self._file, self._request = request.param, request
        self._check = ContentCheck(request.training_rows, kind=request.kind)
        self._held: list[tuple[int, dict[str, Any]]] = []
        self._held_bytes = 0

    @property
    def compares(self) -> bool:
        """Whether the rows are compared with those of a training file."""
        return self._request.training_rows is not None

    @property
    def rows(self) -> RowsOfFile:
        """The rows that were checked."""
        return self._check.file

    def over(self, lines: Iterable[tuple[int, dict[str, Any]]]) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield the lines, and check the first ones."""
        for count, (number, row) in enumerate(lines):
            if count < self._most_rows:
                self._hold(number, row)
            yield number, row

    def _hold(self, number: int, row: dict[str, Any]) -> None:
        self._held.append((number, row))
        self._held_bytes += len(msgspec.json.encode(row))
        if len(self._held) == AT_ONCE or self._held_bytes > AT_ONCE_BYTES:
            self._check_held()

    def _check_held(self) -> None:
        for held in self._held:
            self._check.take_row(*held)
        self._held, self._held_bytes = [], 0

    def findings(self, rendering: Rendering) -> list[DataFinding]:
        """Return what was found, after all lines were rendered: errors first."""
        self._check_held()
        report = self._check.finish().report
        counts = {each.code: each.count for each in report.counts}
        by_code = groupby(report.findings, key=lambda finding: finding.code)
        return [
            *rendering.findings(),
            *(
                self._finding(counts[code], list(found))
                for code, found in by_code
                if code != "length_outlier"
            ),
        ]

    def _finding(self, count: int, found: list[ContentFinding]) -> DataFinding:
        first = found[0]
        message, mend = LEAKED.get(first.code, (first.message, first.mend))
        return DataFinding.model_validate(
            {
                "file": self._file,
                "code": first.code,
                "severity": first.severity,
                "count": count,
                "lines": [each.line for each in found[:SHOWN_LINES] if each.line is not None],
                "message": message,
                "mend": mend,
            }
        )


def told(finding: DataFinding) -> str:
    """Return the sentence of an event about a finding."""
    lines = ", ".join(map(str, finding.lines))
    more = f" and {finding.count - len(finding.lines):,} more" if finding.count > len(finding.lines) else ""
    where = f" (line{'s' if finding.count > 1 else ''} {lines}{more})" if finding.lines else ""
    return f"{finding.file}: {finding.message}{where}. To mend it, {finding.mend}."
