"""Datasets with two answers to a prompt, or with labelled answers: their rules, and the kind of a file."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.check import DatasetCheck, Report, describe
from core.datasets.labelled_rules import labelled
from core.datasets.preference_rules import pair

SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Is it raining?"}
GOOD = {"role": "assistant", "content": "It is."}
BAD = {"role": "assistant", "content": "Who knows."}
HUMAN = {"from": "human", "value": "Is it raining?"}
GPT = {"from": "gpt", "value": "It is."}

CHAT = {"messages": [USER, GOOD]}
OPENAI = {"input": {"messages": [USER]}, "preferred_output": [GOOD], "non_preferred_output": [BAD]}
TRL = {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]}
WHOLE = {"chosen": [SYSTEM, USER, GOOD], "rejected": [SYSTEM, USER, BAD]}
SHAREGPT = {"conversations": [HUMAN], "chosen": GPT, "rejected": {"from": "gpt", "value": "Who knows."}}
LABELLED = {"messages": [USER, GOOD], "label": True}
COMPLETION = {"prompt": [USER], "completion": [BAD], "label": False}
PROMPT = {"messages": [SYSTEM, USER], "answer": "It is."}


def check(*rows: Any) -> Report:
    dataset = DatasetCheck(10_000)
    dataset.feed(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    return dataset.finish()


def findings(*rows: Any) -> list[tuple[int, str, str]]:
    return [(finding.line, finding.field, finding.code) for finding in check(*rows).findings]


@pytest.mark.parametrize("row", [OPENAI, TRL, SHAREGPT, {**OPENAI, "tools": [], "parallel_tool_calls": True}])
def test_each_form_of_a_pair_is_read_alike(row: Any) -> None:
    report = check(row)
    assert (report.ok, report.kind) == (True, "preference"), report
    assert pair(row) == ([USER], GOOD, BAD)


def test_a_prompt_may_begin_both_conversations() -> None:
    assert check(WHOLE).ok
    assert pair(WHOLE) == ([SYSTEM, USER], GOOD, BAD)


@pytest.mark.parametrize(
    ("row", "expected"), [(LABELLED, ([USER], GOOD, True)), (COMPLETION, ([USER], BAD, False))]
)
def test_each_form_of_a_labelled_answer_is_read_alike(row: Any, expected: Any) -> None:
    report = check(row)
    assert (report.ok, report.kind) == (True, "labelled"), report
    assert labelled(row) == expected


@pytest.mark.parametrize(
    ("row", "field", "code"),
    [
        ({**OPENAI, "input": [USER]}, "input", "not_an_object"),
        ({**OPENAI, "input": {}}, "input.messages", "missing"),
        ({**OPENAI, "input": {"messages": []}}, "input.messages", "empty"),
        ({**OPENAI, "input": {"messages": [USER, GOOD]}}, "input.messages[1].role", "last_is_assistant"),
        (
            {**OPENAI, "input": {"messages": [{**USER, "role": "usr"}]}},
            "input.messages[0].role",
            "unknown_role",
        ),
        ({**OPENAI, "input": {"messages": [USER], "tools": [1]}}, "input.tools[0]", "not_an_object"),
        ({**OPENAI, "input": {"messages": [USER], "model": "x"}}, "input", "unknown_key"),
        ({**OPENAI, "preferred_output": GOOD}, "preferred_output", "wrong_type"),
        ({**OPENAI, "preferred_output": []}, "preferred_output", "empty"),
        ({**OPENAI, "preferred_output": [GOOD, GOOD]}, "preferred_output", "not_one_answer"),
        ({**OPENAI, "non_preferred_output": [USER]}, "non_preferred_output[0].role", "last_not_assistant"),
        (
            {**OPENAI, "preferred_output": [{**GOOD, "weight": 1}]},
            "preferred_output[0].weight",
            "misplaced_weight",
        ),
        ({"input": {"messages": [USER]}, "preferred_output": [GOOD]}, "non_preferred_output", "missing"),
        ({**OPENAI, "parallel_tool_call": 1}, "", "unknown_key"),
        ({"prompt": "Is it raining?", "chosen": [GOOD], "rejected": [BAD]}, "prompt", "wrong_type"),
        ({"prompt": [USER], "chosen": [GOOD]}, "rejected", "missing"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "prompt", "missing"),
        ({"chosen": [USER, GOOD], "rejected": [SYSTEM, USER, BAD]}, "rejected", "different_prompts"),
        ({"chosen": [USER, GOOD], "rejected": [USER]}, "rejected[0].role", "last_not_assistant"),
        ({**SHAREGPT, "conversations": []}, "conversations", "empty"),
        ({**SHAREGPT, "conversations": [HUMAN, GPT]}, "conversations[1].from", "last_is_assistant"),
        (
            {**SHAREGPT, "conversations": [{"from": "tool", "value": ""}]},
            "conversations[0].from",
            "unknown_role",
        ),
        ({**SHAREGPT, "chosen": HUMAN}, "chosen.from", "last_not_assistant"),
        ({**SHAREGPT, "chosen": {"from": "gpt"}}, "chosen.value", "missing"),
        ({**SHAREGPT, "chosen": "It is."}, "chosen", "not_an_object"),
        ({**LABELLED, "label": 1}, "label", "wrong_type"),
        ({**LABELLED, "messages": [GOOD]}, "messages", "no_prompt"),
        ({**LABELLED, "messages": [USER, GOOD, USER]}, "messages[2].role", "last_not_assistant"),
        ({**LABELLED, "messages": [USER, {**GOOD, "weight": 1}]}, "messages[1].weight", "misplaced_weight"),
        ({"prompt": [USER], "label": True}, "completion", "missing"),
        ({"prompt": [USER], "completion": [GOOD]}, "label", "missing"),
    ],
)
def test_refuses(row: Any, field: str, code: str) -> None:
    assert findings(row) == [(1, field, code)]


@pytest.mark.parametrize(("first", "kind"), [(CHAT, "chat"), (OPENAI, "preference"), (LABELLED, "labelled")])
def test_a_file_is_of_the_kind_of_its_first_row(first: Any, kind: str) -> None:
    others = [row for row in (CHAT, OPENAI, LABELLED) if row is not first]
    report = check(b"{", first, *others, first)
    assert report.kind == kind
    of_others = [finding for finding in report.findings if finding.line > 1]
    assert [finding.line for finding in of_others] == [3, 4]
    if kind != "labelled":
        assert {finding.code for finding in of_others} == {"other_kind"}


def test_a_row_that_lacks_its_label_is_told_so() -> None:
    assert findings(LABELLED, CHAT) == [(2, "label", "missing")]


def test_a_row_of_another_kind_is_told_where_it_belongs() -> None:
    assert "a row with two answers, but the file began with a chat row" in describe(check(CHAT, OPENAI))


KEYS = ["input", "preferred_output", "non_preferred_output", "prompt", "chosen", "rejected", "label"]
KEYS += ["conversations", "messages", "completion", "tools", "from", "value", "role", "content", "weight"]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.sampled_from(["", "user", "assistant", "human", "gpt", "hi", 0, 1.5])
    | st.sampled_from([USER, GOOD, HUMAN, GPT, [USER], [GOOD], [USER, GOOD]]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=8,
)
ROWS = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
CHANGED = st.builds(
    lambda row, changes: {**row, **changes},
    st.sampled_from([OPENAI, TRL, WHOLE, SHAREGPT, LABELLED, COMPLETION, PROMPT]),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=2),
)


@given(ROWS | CHANGED)
def test_nothing_raises_and_what_is_accepted_can_be_read(row: Any) -> None:
    report = check(row)
    assert report.ok == (describe(report) == "")
    if report.ok and report.kind == "preference":
        prompt, preferred, other = pair(row)
        assert {message["role"] for message in (preferred, other)} == {"assistant"}
        assert prompt[-1]["role"] != "assistant"
    if report.ok and report.kind == "labelled":
        prompt, answer, desirable = labelled(row)
        assert (answer["role"], bool(prompt), type(desirable)) == ("assistant", True, bool)
    if report.ok and report.kind == "prompt":
        assert row["messages"][-1]["role"] in ("user", "tool")
