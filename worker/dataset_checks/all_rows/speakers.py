"""Finds rows in which somebody is silent who speaks in most rows: the user, or the system prompt."""

from array import array
from collections.abc import Sequence

from worker.dataset_checks.finding_log import FindingLog
from worker.dataset_checks.one_row.contents import Text

INSTRUCTING = frozenset({"system", "developer"})
ASKING = frozenset({"user"})


class Speakers:
    """Who speaks in the rows of one file. A row in which one of them is silent takes four bytes for each."""

    def __init__(self) -> None:
        self._rows = 0
        self._without_system, self._without_user = array("I"), array("I")

    def add(self, line: int, texts: list[Text]) -> None:
        """Take the next row."""
        roles = {role for _, role, _ in texts}
        self._rows += 1
        if roles.isdisjoint(INSTRUCTING):
            self._without_system.append(line)
        if roles.isdisjoint(ASKING):
            self._without_user.append(line)

    def finish(self, log: FindingLog) -> None:
        """Add a finding for each row without a speaker that more than half of the rows have."""
        message, mend = "the row has no message of a user", "add what the user said, or remove the row"
        self._add(log, "no_user_message", self._without_user, message, mend)
        message, mend = "the row has no system prompt", "add the prompt that the model will get later"
        self._add(log, "no_system_message", self._without_system, message, mend)

    def _add(self, log: FindingLog, code: str, lines: Sequence[int], message: str, mend: str) -> None:
        if 2 * len(lines) >= self._rows:
            return
        room = log.room(code)
        for line in lines[:room]:
            log.add(code, line, "", f"{message}, and most rows of the file have one", mend)
        log.count_more(code, max(len(lines) - room, 0))
