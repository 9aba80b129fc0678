"""The check of a job's rows while they are rendered: what it finds, and what it says."""

import pickle
from pathlib import Path
from typing import Any

from core.datasets.checks.report import DataFinding
from core.datasets.kinds import Kind
from tests.fixtures.models.templates import FAMILIES, bytes_with
from worker.rendering.data_check import DataCheck, told
from worker.rendering.render import Rendering
from worker.rendering.render_request import RenderRequest

WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]


def chat(question: str, answer: str) -> dict[str, Any]:
    said = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return {"messages": said}


def checked(
    rows: list[dict[str, Any]],
    param: str = "training_file",
    training: Any = None,
    kind: Kind = "chat",
    **options: int,
) -> tuple[DataCheck, list[DataFinding]]:
    template, special, _ = FAMILIES["chatml"]
    request = RenderRequest(param, kind, 200, 10**6, None, b"", Path(), training_rows=training)
    check, rendering = (
        DataCheck(request, **options),
        Rendering(bytes_with(template, special), 200, param, kind),
    )
    list(rendering.render(check.over(enumerate(rows, 1))))
    return check, check.findings(rendering)


def brief(found: list[DataFinding]) -> list[tuple[str, str, int, list[int]]]:
    return [(each.file, each.code, each.count, each.lines) for each in found]


def test_what_repeats_contradicts_or_is_cut_is_found_while_rows_are_rendered() -> None:
    rows = [chat(word, f"{word}!") for word in WORDS]
    _, found = checked([*rows, rows[0], rows[0], chat("two", "No."), chat("last", "x" * 300)])
    assert brief(found) == [
        ("training_file", "row_cut", 1, [16]),
        ("training_file", "exact_duplicate", 2, [13, 14]),
        ("training_file", "contradiction", 1, [15]),
    ]
    assert told(found[1]) == (
        "training_file: the row teaches what an earlier row does (lines 13, 14). To mend it, remove the row."
    )


def test_rows_of_the_training_file_are_found_in_the_validation_file() -> None:
    training, _ = checked([chat(word, f"{word}!") for word in WORDS])
    kept = pickle.loads(pickle.dumps(training.rows))  # noqa: S301 - as it comes from the process
    check, found = checked([chat("new", "x"), chat("ten", "ten!")], "validation_file", kept)
    assert check.compares
    assert brief(found) == [("validation_file", "leaked_row", 1, [2])]
    assert "the training file has this row" in told(found[0])


def test_prompts_that_are_too_long_and_those_of_the_training_file_are_found() -> None:
    def prompt(asked: str, **more: Any) -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": asked}], **more}

    training, found = checked([*map(prompt, WORDS), prompt("x" * 300)], kind="prompt")
    assert brief(found) == [("training_file", "prompt_too_long", 1, [13])]
    _, found = checked([prompt("new"), prompt("ten", sum=1)], "validation_file", training.rows, "prompt")
    assert brief(found) == [("validation_file", "leaked_row", 1, [2])]


def test_only_the_first_rows_are_checked() -> None:
    check, found = checked([chat("same", "row")] * 12, most_rows=3)
    assert brief(found) == [("training_file", "exact_duplicate", 2, [2, 3])]
    assert check.rows.rows == 3
