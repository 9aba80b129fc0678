"""The languages of a file's answers, by langid (Lui and Baldwin 2012): of rows from all over the file."""

from collections import Counter
from functools import cache, cached_property
from typing import Any, NamedTuple

from core.datasets.checks.report import LanguageCount
from worker.dataset_checks.finding_log import FindingLog
from worker.dataset_checks.one_row.contents import Contents

MOST_ROWS = 2000  # whose answers are kept until the end, and then judged
LONGEST = 600  # characters that are looked at
LEAST_BYTES = 40  # of UTF-8; shorter texts are too often mistaken
SURE = 0.8  # probability
# A language is in the report from so many rows and such a share on, since single rows are often mistaken
LEAST_ROWS, LEAST_SHARE = 3, 0.005
NO_LANGUAGE = "zxx"  # langid's word for texts that are none


class Judged(NamedTuple):
    line: int
    language: str | None
    """None for an answer that is too short, or in no language, such as code"""


class Languages:
    """Keeps the answers of every n-th row: of all rows at first, and of fewer the more rows there are.

    They are judged when all rows have been added.
    """

    def __init__(self, most_rows: int = MOST_ROWS) -> None:
        self._most_rows = most_rows
        self._rows, self._stride = 0, 1
        self._kept: list[tuple[int, str]] = []  # the line, and the beginning of the answers

    def add(self, line: int, row: Contents) -> None:
        number, self._rows = self._rows, self._rows + 1
        if number % self._stride:
            return
        answers = "\n".join(text for _, role, text in row.texts if role == "assistant")
        self._kept.append((line, answers[:LONGEST]))
        if len(self._kept) > self._most_rows:
            self._kept = self._kept[::2]
            self._stride *= 2

    @cached_property
    def _judged(self) -> list[Judged]:
        return [Judged(line, language_of(answers)) for line, answers in self._kept]

    def found(self) -> list[LanguageCount] | None:
        """Return the languages with their rows, most frequent first; None if no row has a known language."""
        known = Counter(each.language for each in self._judged if each.language is not None)
        least = max(LEAST_ROWS, LEAST_SHARE * known.total()) if len(known) > 1 else 1
        counts = [LanguageCount(language=name, rows=rows) for name, rows in known.most_common()]
        return [each for each in counts if each.rows >= least] or None

    def first_line_in(self, language: str) -> int:
        return next(each.line for each in self._judged if each.language == language)


def find_mix(languages: Languages, log: FindingLog) -> None:
    """Add a note for each language but the most frequent one."""
    found = languages.found() or []
    total = sum(each.rows for each in found)
    for each in found[1:]:
        message = (
            f"{each.rows / total:.1%} of the answers are in the language {each.language!r}, and "
            f"{found[0].rows / total:.1%} in {found[0].language!r}. This is the first of them"
        )
        mend = "leave them out, or train one adapter for each language, unless the model shall answer in both"
        log.add("language_mix", languages.first_line_in(each.language), "", message, mend)


def language_of(text: str) -> str | None:
    """Return the ISO 639-1 code of a text's language, or None if that is not sure."""
    if len(text.encode()) < LEAST_BYTES:
        return None
    language, probability = _identifier().classify(text)
    return str(language) if probability >= SURE and language != NO_LANGUAGE else None


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # reads 4 MB

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def forget_model() -> None:
    """Free the memory of the model, about 70 MB. It is read again when a text is judged."""
    _identifier.cache_clear()
