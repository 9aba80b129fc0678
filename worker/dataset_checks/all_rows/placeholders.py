"""Finds placeholders such as {{name}} that nobody has filled, and counts the rows of each."""

import re

from worker.dataset_checks.finding_log import FindingLog
from worker.dataset_checks.one_row.contents import Text

PLACEHOLDER = re.compile(r"\{\{ ?(\w{1,64}) ?\}\}")
MOST_PLACEHOLDERS = 1000  # different ones that are counted; a file with more of them teaches templates
NAMED = 5  # in the message


class Placeholders:
    """The placeholders in the rows of one file."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}
        self._first: tuple[int, str] = 0, ""

    def add(self, line: int, texts: list[Text]) -> None:
        """Take the next row."""
        found: dict[str, str] = {}  # the field by the placeholder
        for field, _, text in texts:
            for name in PLACEHOLDER.findall(text) if "{{" in text else ():
                found.setdefault(name, field)
        if found and not self._rows:
            self._first = line, next(iter(found.values()))
        for name in found:
            if name in self._rows or len(self._rows) < MOST_PLACEHOLDERS:
                self._rows[name] = self._rows.get(name, 0) + 1

    def finish(self, log: FindingLog) -> None:
        """Add a finding with the first row that has a placeholder, which counts the rows of each."""
        if not self._rows:
            return
        ordered = sorted(self._rows.items(), key=lambda each: (-each[1], each[0]))
        counts = [f"{rows:,} row{'s' if rows > 1 else ''} with {{{{{name}}}}}" for name, rows in ordered]
        more = len(counts) - NAMED
        others = f" and {more:,} more placeholder{'s' if more > 1 else ''}" if more > 0 else ""
        named = ", ".join(counts[:NAMED]) + others
        message = f"the file has placeholders that nobody has filled: {named}. This is the first row"
        mend = "fill them before you train: a model learns to write the braces"
        line, field = self._first
        log.add("placeholder", line, field, message, mend)
