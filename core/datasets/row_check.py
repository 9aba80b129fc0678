"""Checks the rows of one dataset, line by line, each by the rules of the file's kind."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from core.datasets import strict_json
from core.datasets.chat_rules import row_findings
from core.datasets.findings import Finding
from core.datasets.kinds import ROW_IN_WORDS, Kind, contradicts, kind_of
from core.datasets.labelled_rules import labelled_findings
from core.datasets.plain_chat import is_plain_chat
from core.datasets.preference_rules import pair_findings

MAX_ROW_FINDINGS = 20

Rules = Callable[[Any], Iterator[Finding]]

RULES: dict[Kind, Rules] = {
    "chat": row_findings,
    "preference": pair_findings,
    "labelled": labelled_findings,
}


def line_findings(line: bytes, rules: Rules) -> list[Finding]:
    """Return the findings of `rules` on one line, at most the first 20. `line` has no line end.

    A line that is not strict JSON has one finding, which says so.
    """
    try:
        row = strict_json.parse(line)
    except strict_json.UnreadableLine as error:
        return [Finding("", error.code, str(error))]
    return list(islice(rules(row), MAX_ROW_FINDINGS))


class RowCheck:
    """Checks the lines of one file. `kind` is None until a row has shown the kind of the file."""

    def __init__(self) -> None:
        self.kind: Kind | None = None

    def findings(self, line: bytes) -> list[Finding]:
        """Return the findings on the next line, at most the first 20. `line` has no line end."""
        if self.kind in ("chat", None) and is_plain_chat(line):
            self.kind = "chat"
            return []
        return line_findings(line, self._row_findings)

    def _row_findings(self, row: Any) -> Iterator[Finding]:
        if isinstance(row, dict):
            self.kind = self.kind or kind_of(row)
            if self.kind is not None and contradicts(row, self.kind):
                yield self._other_kind(row, self.kind)
                return
        yield from RULES[self.kind or "chat"](row)

    def _other_kind(self, row: dict[str, Any], kind: Kind) -> Finding:
        found = kind_of(row)
        assert found is not None
        message = (
            f"this is {ROW_IN_WORDS[found]}, but the file began with {ROW_IN_WORDS[kind]}; "
            "put each kind of row in a file of its own"
        )
        return Finding("", "other_kind", message)
