"""Datasets of prompts without answers: which rows they are, their rules, and rows of other kinds there."""

import json
from typing import Any

import pytest

from core.datasets.check import DatasetCheck, Report, describe
from core.datasets.kinds import Kind, kind_of
from core.datasets.row_check import ignored_keys

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "2 + 3"}
ANSWER = {"role": "assistant", "content": "5"}
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
CALLING = {"role": "assistant", "tool_calls": [CALL]}
TOOL = {"role": "tool", "tool_call_id": "c1", "content": "5"}

PROMPT = {"messages": [SYSTEM, USER], "sum": 5}
CHAT = {"messages": [USER, ANSWER]}
LABELLED = {"messages": [USER, ANSWER], "label": True}
PAIR = {"prompt": [USER], "chosen": [ANSWER], "rejected": [ANSWER]}


def check(*rows: Any, kind: Kind | None = None) -> Report:
    dataset = DatasetCheck(10_000, kind=kind)
    dataset.feed(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return dataset.finish()


def findings(*rows: Any) -> list[tuple[int, str, str]]:
    return [(finding.line, finding.field, finding.code) for finding in check(*rows).findings]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [USER]},
        {"messages": [SYSTEM, USER, USER], "tools": []},
        {"messages": [USER, ANSWER, USER], "sum": 5},
        {"messages": [USER, CALLING, TOOL], "sum": 5},
        {"messages": [USER], "label": "sum"},
        {"messages": [USER, ANSWER, USER], "label": "sum"},
        {"messages": [USER], "label": True},
        {"messages": [USER], "input": "2 + 3", "completion": None, "id": 1, "tool": "x", "message": []},
        {
            "messages": [USER],
            "conversations": [[]],
            "instruction": {},
            "output": 0.5,
            "parallel_tool_calls": True,
        },
    ],
)
def test_a_prompt_may_have_any_keys_beside_its_messages(row: Any) -> None:
    report = check(row)
    assert (report.findings, report.kind) == ([], "prompt")
    assert ignored_keys(row, "prompt") == []


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"messages": [USER, ANSWER, USER]}, "chat"),
        ({"messages": [USER, ANSWER, USER], "id": None}, "chat"),
        ({"messages": [SYSTEM], "sum": 5}, "chat"),
        ({"messages": [], "sum": 5}, "chat"),
        ({"messages": "2 + 3"}, "chat"),
        ({"messages": [USER, ANSWER, USER], "label": True}, "labelled"),
        ({"messages": [USER], "chosen": [ANSWER], "rejected": [ANSWER]}, "preference"),
        ({"sum": 5}, None),
    ],
)
def test_a_row_of_another_kind_that_lacks_its_answer_is_no_prompt(row: Any, kind: str | None) -> None:
    assert kind_of(row) == kind


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        ({"messages": [USER, ANSWER]}, "messages[1].role", "last_is_assistant"),
        ({"messages": [USER, ANSWER], "label": True}, "messages[1].role", "last_is_assistant"),
        ({"messages": [USER, SYSTEM]}, "messages[1].role", "last_not_user"),
        ({"messages": [{**ANSWER, "weight": 0}, USER]}, "messages[0].weight", "misplaced_weight"),
        ({"messages": []}, "messages", "empty"),
        ({"messages": "2 + 3"}, "messages", "wrong_type"),
        ({"messages": [{**USER, "role": "usr"}]}, "messages[0].role", "unknown_role"),
        ({"messages": [USER], "tools": 1}, "tools", "wrong_type"),
        ({"messages": [USER], "parallel_tool_calls": 1}, "parallel_tool_calls", "wrong_type"),
        ({"sum": 5}, "messages", "missing"),
        (PAIR, "", "other_kind"),
        ([USER], "", "not_an_object"),
        (b'{"messages": [{"role": "user", "content": "x"}], "sum": 1, "sum": 2}', "", "duplicate_key"),
        (b'{"messages": [{"role": "user", "content": "x"}], "sum": "\\ud83d"}', "", "lone_surrogate"),
    ],
)
def test_refuses_in_a_file_of_prompts(row: Any, field: str, code: str) -> None:
    assert findings(PROMPT, row) == [(2, field, code)]


def test_a_misspelt_key_is_named_if_the_messages_are_missing() -> None:
    assert findings(PROMPT, {"mesages": [USER]}) == [(2, "messages", "missing"), (2, "", "unknown_key")]


def test_a_row_with_an_answer_is_told_that_a_prompt_ends_with_the_user() -> None:
    said = describe(check(PROMPT, CHAT))
    assert "the last message of a prompt must be the user's" in said
    assert "in a file of their own" in said


def test_later_prompts_may_have_answers_before_their_last_message_and_no_other_key() -> None:
    assert check(PROMPT, {"messages": [USER, ANSWER, USER]}).ok


@pytest.mark.parametrize(
    ("first", "row", "found"),
    [
        (CHAT, {"messages": [USER]}, [("messages", "no_assistant_message")]),
        (CHAT, PROMPT, [("messages", "no_assistant_message")]),
        (CHAT, {"messages": [USER, ANSWER, USER], "sum": 5}, [("messages[2].role", "last_not_assistant")]),
        (
            LABELLED,
            {"messages": [USER, ANSWER, USER], "sum": 5},
            [("label", "missing"), ("messages[2].role", "last_not_assistant")],
        ),
        (PAIR, PROMPT, [("", "other_kind")]),
    ],
)
def test_in_a_file_of_another_kind_a_row_without_an_answer_lacks_it(
    first: Any, row: Any, found: list[tuple[str, str]]
) -> None:
    assert findings(first, row) == [(2, *each) for each in found]


def test_a_file_that_the_server_makes_may_begin_with_any_prompt() -> None:
    row = {"messages": [USER, ANSWER, USER]}
    assert not check(row).ok
    assert check(row, kind="prompt").ok
