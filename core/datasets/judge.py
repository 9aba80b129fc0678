"""Judges the rows of one dataset, line by line, each by the rules of the file's kind."""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from core.datasets import strict_json
from core.datasets.chat import MAX_ROW_FINDINGS, is_plain
from core.datasets.chat_rules import row_findings
from core.datasets.findings import Finding
from core.datasets.kinds import ROW_IN_WORDS, Kind, contradicts, kind_of
from core.datasets.labelled_rules import labelled_findings
from core.datasets.preference_rules import pair_findings

RULES: dict[Kind, Callable[[Any], Iterator[Finding]]] = {
    "chat": row_findings,
    "preference": pair_findings,
    "labelled": labelled_findings,
}


class RowJudge:
    """`kind` is None until a row has told it."""

    def __init__(self) -> None:
        self.kind: Kind | None = None

    def findings(self, line: bytes) -> list[Finding]:
        """What is wrong with the next line, without its line end; the first 20 findings at most."""
        if self.kind in ("chat", None) and is_plain(line):
            self.kind = "chat"
            return []
        try:
            row = strict_json.parse(line)
        except strict_json.Unreadable as error:
            return [Finding("", error.code, str(error))]
        return list(islice(self._row_findings(row), MAX_ROW_FINDINGS))

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
            "put each kind in a file of its own"
        )
        return Finding("", "other_kind", message)
