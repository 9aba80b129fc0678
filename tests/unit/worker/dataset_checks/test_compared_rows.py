"""Rows that the check of a dataset compares: repeated, similar, leaked and contradicting ones."""

import random
from typing import Any

import pytest

from tests.fixtures.rows.checked import brief, chat, checked, edited, findings, left_out, text
from tests.fixtures.rows.tool_rows import ASKED, call, calls, tool_row


def test_different_rows_have_no_findings() -> None:
    report = checked(*(chat(text(n), text(1000 + n)) for n in range(30))).report
    assert (report.rows, report.bad_rows, report.kind, report.findings) == (30, 0, "chat", [])
    assert report.mendable_rows == 0
    assert len(report.examples) == 3
    assert report.lengths is not None
    assert report.lengths.shortest <= report.lengths.median <= report.lengths.p95 <= report.lengths.longest


def test_a_repeated_row_names_the_first_one_and_is_left_out_of_a_mended_copy() -> None:
    row = chat("Capital of Peru?", "Lima.")
    result = checked(row, chat("Is it raining?", "It is."), row, row)
    assert brief(result.report.findings) == [("exact_duplicate", 3, ""), ("exact_duplicate", 4, "")]
    assert [each.other_line for each in result.report.findings] == [1, 1]
    assert left_out(result) == {3, 4}


def test_rows_that_mean_the_same_are_equal_whatever_their_json() -> None:
    parts = [{"type": "text", "text": "Capital of "}, {"type": "text", "text": "Peru?"}]
    other = chat("", "Lima.")
    other["messages"][0]["content"] = parts
    assert brief(findings(chat("Capital of Peru?", "Lima."), other)) == [("exact_duplicate", 2, "")]


def test_a_row_with_few_other_words_is_nearly_the_same() -> None:
    (found,) = findings(chat(text(1), text(2)), chat(edited(text(1), 0.03, 5), text(2)))
    assert (found.code, found.line, found.other_line, found.severity) == ("near_duplicate", 2, 1, "note")


def test_rows_that_share_a_system_prompt_alone_are_not_similar() -> None:
    system = {"role": "system", "content": text(7, 300)}
    rows = [chat(text(n), text(100 + n)) for n in range(4)]
    for row in rows:
        row["messages"].insert(0, system)
    assert findings(*rows) == []


def test_a_language_without_spaces_has_near_duplicates_too() -> None:
    long = "".join(random.Random(1).choices([chr(0x4E00 + n) for n in range(2000)], k=200))
    assert brief(findings(chat(long, "好"), chat(long[:-5], "好"))) == [("near_duplicate", 2, "")]


def test_a_row_of_the_validation_file_has_leaked() -> None:
    rows = [chat(text(n), text(100 + n)) for n in range(5)]
    nearly = chat(edited(text(3), 0.02, 9), text(103))
    result = checked(*rows, validation=[chat(text(50), text(51)), rows[1], nearly])
    assert brief(result.report.findings) == [("leaked_row", 2, ""), ("leaked_near_row", 4, "")]
    assert [each.other_line for each in result.report.findings] == [2, 3]
    assert left_out(result) == {2}
    assert result.report.validation_rows == 3


def test_two_answers_to_one_prompt_contradict_each_other() -> None:
    found = findings(chat("Capital of Peru?", "Lima."), chat("Capital of Peru?", "It is Cusco, I think."))
    assert brief(found) == [("contradiction", 2, "")]
    assert found[0].other_line == 1


def test_pairs_with_the_answers_swapped_contradict_each_other() -> None:
    def pair(better: str, worse: str) -> dict[str, Any]:
        return {
            "input": {"messages": [{"role": "user", "content": "Capital of Peru?"}]},
            "preferred_output": [{"role": "assistant", "content": better}],
            "non_preferred_output": [{"role": "assistant", "content": worse}],
        }

    assert ("contradiction", 2, "") in brief(findings(pair("Lima.", "Cusco."), pair("Cusco.", "Lima.")))
    assert brief(findings(pair("Lima.", "Cusco."), pair("Lima, of course.", "Quito."))) == []


def test_an_answer_with_both_labels_contradicts_itself() -> None:
    rows = [chat("Capital of Peru?", "Lima.", label=label) for label in (True, False)]
    assert ("contradiction", 2, "") in brief(findings(*rows))


def test_rows_that_differ_in_a_call_alone_are_not_the_same() -> None:
    rows = [tool_row(ASKED, calls(call(f'{{"place": "{place}"}}'))) for place in ("Lima", "Cusco")]
    assert {each.code for each in findings(*rows)} & {"exact_duplicate", "contradiction"} == {"contradiction"}


@pytest.mark.parametrize("kind", ["chat", "labelled", "pair", "pair with tools in its input"])
def test_rows_that_differ_in_their_tools_alone_are_not_the_same(kind: str) -> None:
    asked = [{"role": "user", "content": "Is it raining?"}]
    yes, no = ([{"role": "assistant", "content": said}] for said in ("Yes.", "No."))

    def row(name: str) -> dict[str, Any]:
        tools = {"tools": [{"type": "function", "function": {"name": name, "parameters": {}}}]}
        if kind == "pair":
            return {"prompt": asked, "chosen": yes, "rejected": no, **tools}
        if kind.startswith("pair"):
            return {
                "input": {"messages": asked, **tools},
                "preferred_output": yes,
                "non_preferred_output": no,
            }
        return {"messages": [*asked, *yes], **tools, **({"label": True} if kind == "labelled" else {})}

    repeats = {"exact_duplicate", "contradiction"}
    assert not {each.code for each in findings(row("rain"), row("snow"))} & repeats
    assert {each.code for each in findings(row("rain"), row("rain"))} & repeats == {"exact_duplicate"}


def test_other_tools_make_another_prompt_that_may_have_another_answer() -> None:
    def row(name: str, answer: str) -> dict[str, Any]:
        tools = [{"type": "function", "function": {"name": name, "parameters": {}}}]
        return chat("Is it raining?", answer, tools=tools)

    assert "contradiction" not in {each.code for each in findings(row("rain", "Yes."), row("snow", "No."))}
    assert "contradiction" in {each.code for each in findings(row("rain", "Yes."), row("rain", "No."))}


def test_rows_that_differ_in_weights_teach_different_things() -> None:
    def weighted(*weights: Any) -> dict[str, Any]:
        said = [{"role": "user", "content": text(1)}]
        answers = [
            {"role": "assistant", "content": text(seed), "weight": weight}
            for seed, weight in enumerate(weights)
        ]
        return {"messages": [*said, *answers]}

    result = checked(weighted(1, 0), weighted(0, 1), weighted(None, 1), weighted(1.0, 1))
    assert left_out(result) == {4}
