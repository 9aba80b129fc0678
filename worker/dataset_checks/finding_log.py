"""Collects findings: the first 50 of each code, and how many there are of each."""

from core.datasets.checks.report import KEPT_FINDINGS, CodeCount, ContentFinding, Severity

SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")

SEVERITY: dict[str, Severity] = {
    "leaked_row": "error",
    "leaked_near_row": "warning",
    "contradiction": "warning",
    "exact_duplicate": "warning",
    "near_duplicate": "note",
    "blank_answer": "error",
    "answer_cut": "error",
    "prompt_too_long": "error",
    "nothing_learnt": "error",
    "refused_by_template": "error",
    "row_cut": "warning",
    "length_outlier": "note",
    "control_token": "warning",
    "placeholder": "warning",
    "secret": "error",
    "card_number": "warning",
    "email_address": "note",
    "undeclared_tool": "error",
    "wrong_arguments": "warning",
    "unanswered_call": "warning",
    "no_user_message": "warning",
    "no_system_message": "note",
    "class_imbalance": "note",
    "language_mix": "note",
    "ignored_key": "warning",
}


class FindingLog:
    """The findings of one check. Codes that are not in SEVERITY are those of rows that no job takes."""

    def __init__(self) -> None:
        self._kept: dict[str, list[ContentFinding]] = {}
        self._counts: dict[str, int] = {}

    def add(
        self, code: str, line: int | None, field: str, message: str, mend: str, other_line: int | None = None
    ) -> None:
        self._counts[code] = self._counts.get(code, 0) + 1
        kept = self._kept.setdefault(code, [])
        if len(kept) < KEPT_FINDINGS:
            finding = ContentFinding(
                code=code,
                severity=severity(code),
                line=line,
                field=field,
                message=message,
                mend=mend,
                other_line=other_line,
            )
            kept.append(finding)

    def count_more(self, code: str, count: int) -> None:
        """Count findings that are not described."""
        self._counts[code] = self._counts.get(code, 0) + count

    def room(self, code: str) -> int:
        """Return how many more findings of a code are kept."""
        return KEPT_FINDINGS - len(self._kept.get(code, ()))

    def counts(self) -> list[CodeCount]:
        """Return the count of each code: errors first, and the most frequent first."""
        found = [
            CodeCount(code=code, severity=severity(code), count=count)
            for code, count in self._counts.items()
            if count
        ]
        return sorted(found, key=lambda each: (SEVERITIES.index(each.severity), -each.count, each.code))

    def findings(self) -> list[ContentFinding]:
        """Return the kept findings in the order of the codes, each code's by line."""
        by_line = [sorted(self._kept.get(each.code, ()), key=lambda f: f.line or 0) for each in self.counts()]
        return [finding for several in by_line for finding in several]


def severity(code: str) -> Severity:
    return SEVERITY.get(code, "error")
