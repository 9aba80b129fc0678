"""Counts the answers of a file, as long as they are few: then the file teaches to choose among classes."""

from core.datasets.checks.report import AnswerCount
from worker.dataset_checks.finding_log import FindingLog
from worker.dataset_checks.one_row.examples import shown_text

MOST_ANSWERS = 200
LONGEST_ANSWER = 200  # characters; longer answers are not classes
ROWS_PER_ANSWER = 5  # on average, at least: fewer are not classes
# The largest class is unbalanced at 10 times the median's rows, the smallest at a tenth of them
UNBALANCED = 10


class AnswerCounts:
    """Counts the rows of each answer, and gives up when answers are many or long."""

    def __init__(self) -> None:
        self._rows: dict[str, int] | None = {}

    def add(self, answer: str) -> None:
        rows = self._rows
        if rows is None:
            return
        rows[answer] = rows.get(answer, 0) + 1
        if len(rows) > MOST_ANSWERS or len(answer) > LONGEST_ANSWER:
            self._rows = None

    def few(self) -> list[AnswerCount] | None:
        """Return the answers, most frequent first, or None if they are not classes."""
        if not self._rows or sum(self._rows.values()) < ROWS_PER_ANSWER * len(self._rows):
            return None
        ordered = sorted(self._rows.items(), key=lambda each: (-each[1], each[0]))
        return [AnswerCount(answer=shown_text(answer), rows=rows) for answer, rows in ordered]


def find_imbalance(answers: list[AnswerCount], log: FindingLog) -> None:
    """Add a note if all rows have one answer, or if answers differ much in their rows."""
    mend = "add rows of the rare answers, or take some of the frequent ones away"
    most, least = answers[0], answers[-1]
    if len(answers) == 1:
        log.add("class_imbalance", None, "", f"all {most.rows:,} rows have one answer: {most.answer!r}", mend)
        return
    median = answers[len(answers) // 2].rows
    if len(answers) == 2:
        median = least.rows
    if most.rows >= UNBALANCED * median or least.rows * UNBALANCED <= median:
        message = (
            f"{len(answers)} answers have from {least.rows:,} rows ({least.answer!r}) to {most.rows:,} rows "
            f"({most.answer!r})"
        )
        log.add("class_imbalance", None, "", message, mend)
