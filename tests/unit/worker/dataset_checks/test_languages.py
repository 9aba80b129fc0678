"""The languages of a file's answers."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from core.datasets.checks.report import ContentReport
from worker.dataset_checks.all_rows.languages import Languages
from worker.dataset_checks.content_check import ContentCheck
from worker.dataset_checks.one_row.contents import contents_of

ENGLISH = "The train to the coast leaves at seven, and it takes about two hours (number {})."
GERMAN = "Der Zug an die Küste fährt um sieben Uhr ab und braucht ungefähr zwei Stunden (Nummer {})."
JAPANESE = "海岸へ行く電車は七時に出発し、到着まで二時間ほどかかります。番号は{}です。"
CODE = "SELECT a{0}.id, b{0}.x FROM t{0} a{0} JOIN u{0} b{0} ON a{0}.id=b{0}.id WHERE b{0}.x<>7"


def chats(*answers: str) -> Iterator[dict[str, Any]]:
    for number, said in enumerate(answers, 1):
        messages = [{"role": "user", "content": f"When? {number}"}, {"role": "assistant", "content": said}]
        yield {"messages": messages}


def checked(*answers: str) -> ContentReport:
    check = ContentCheck()
    for number, row in enumerate(chats(*answers), 1):
        check.add(number, json.dumps(row).encode())
    return check.finish().report


def rows(template: str, count: int, first: int = 1) -> list[str]:
    return [template.format(number) for number in range(first, first + count)]


def counts(report: ContentReport) -> dict[str, int]:
    return {each.language: each.rows for each in report.languages or []}


def mix(report: ContentReport) -> list[Any]:
    return [each for each in report.findings if each.code == "language_mix"]


def test_a_rare_language_is_noted_with_its_first_line_and_its_share() -> None:
    report = checked(*rows(ENGLISH, 50), *rows(GERMAN, 6), *rows(JAPANESE, 4))
    assert counts(report) == {"en": 50, "de": 6, "ja": 4}
    german, japanese = mix(report)
    assert (german.line, japanese.line) == (51, 57)
    assert german.severity == "note"
    assert "10.0% of the answers are in the language 'de', and 83.3% in 'en'" in german.message


def test_one_language_is_no_mix() -> None:
    report = checked(*rows(GERMAN, 30))
    assert counts(report) == {"de": 30}
    assert not mix(report)


def test_single_rows_make_no_mix_since_they_are_often_mistaken() -> None:
    report = checked(*rows(ENGLISH, 40), *rows(GERMAN, 2))
    assert counts(report) == {"en": 40}
    assert not mix(report)


@pytest.mark.parametrize("answer", ["yes", CODE, '{{"id": {0}, "xs": [[1, 2, 3], [4, 5, 6], [7, 8, {0}]]}}'])
def test_short_answers_and_code_are_in_no_language(answer: str) -> None:
    assert checked(*rows(answer, 20)).languages is None


def test_rows_of_a_long_file_are_looked_at_from_its_begin_to_its_end() -> None:
    languages = Languages(most_rows=50)
    for line, row in enumerate(chats(*rows(ENGLISH, 750), *rows(GERMAN, 250, 751)), 1):
        languages.add(line, contents_of(row, "chat"))
    found = {each.language: each.rows for each in languages.found() or []}
    assert 25 <= sum(found.values()) <= 50
    assert found["de"] / sum(found.values()) == pytest.approx(0.25, abs=0.05)
