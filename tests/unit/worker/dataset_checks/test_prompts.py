"""The check of a file of prompts: they repeat, leak and are too long, and they lack no answer."""

from typing import Any

import pytest

from tests.fixtures.rows.checked import brief, chat, checked, findings, left_out, text
from tests.fixtures.rows.tool_rows import RAIN_TOOL


def prompt(asked: str, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": asked}], **more}


def test_prompts_have_no_answers_and_nothing_is_said_of_them() -> None:
    result = checked(*(prompt(text(n), city="Lima", id=n) for n in range(30)))
    assert result.report.kind == "prompt"
    assert (result.report.findings, result.report.answers, left_out(result)) == ([], None, set())


def test_an_equal_prompt_is_a_repetition_only_if_graders_read_the_same_beside_it() -> None:
    rows = [prompt(text(1), sum=5, of=[2, 3]), prompt(text(1), of=[2, 3], sum=5), prompt(text(1), sum=6)]
    result = checked(*rows)
    found = {each.code: each for each in result.report.findings}
    assert (found["exact_duplicate"].line, found["exact_duplicate"].other_line) == (2, 1)
    assert found["contradiction"].line == 3
    assert found["contradiction"].message == (
        "an earlier row has the same prompt with other values for the grader"
    )
    assert left_out(result) == {2}


def test_other_tools_make_another_prompt() -> None:
    result = checked(prompt(text(1)), prompt(text(1), tools=[RAIN_TOOL]))
    assert {each.code for each in result.report.findings} <= {"near_duplicate"}


@pytest.mark.parametrize("validation", [prompt(text(1), sum=6), chat(text(1), "6")])
def test_a_prompt_leaks_whatever_its_graders_read_or_its_answer_is(validation: Any) -> None:
    result = checked(prompt(text(1), sum=5), prompt(text(2)), validation=[validation])
    assert brief(result.report.findings) == [("leaked_row", 1, "")]
    assert left_out(result) == {1}


def test_a_similar_prompt_leaks_nearly() -> None:
    found = findings(prompt(f"{text(1)} one"), validation=[prompt(f"{text(1)} two")])
    assert brief(found) == [("leaked_near_row", 1, "")]


def test_a_prompt_that_is_too_long_is_left_out_instead_of_cut() -> None:
    (found,) = findings(prompt(text(1, 10)), prompt(text(2, 400)), max_length=300)
    assert (found.code, found.severity, found.line) == ("prompt_too_long", "error", 2)
    assert "estimated, more than 300" in found.message


def test_secrets_and_placeholders_of_prompts_are_found() -> None:
    found = findings(prompt("Use AKIAIOSFODNN7EXAMPLE"), prompt("Greet {{ name }}"))
    assert {each.code for each in found} == {"secret", "placeholder"}
