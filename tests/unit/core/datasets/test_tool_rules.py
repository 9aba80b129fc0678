"""Rows with tools: which are right, and that no value in their place raises an error."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets.check import DatasetCheck, Report
from core.datasets.kinds import Kind
from tests.fixtures.rows.tool_rows import ASKED, RAIN_TOOL, SAID, answer, call, calls, tool_row

LABELLED = {**tool_row(ASKED, calls()), "label": False}
PAIR = {
    "input": {
        "messages": [ASKED, calls(), answer(), ASKED],
        "tools": [RAIN_TOOL],
        "parallel_tool_calls": False,
    },
    "preferred_output": [calls()],
    "non_preferred_output": [SAID],
}
TRL = {"prompt": [ASKED], "chosen": [calls()], "rejected": [SAID], "tools": [RAIN_TOOL]}
WHOLE = {"chosen": [ASKED, calls(), answer(), SAID], "rejected": [ASKED, calls(), answer(), calls()]}
REASONED = {"messages": [ASKED, {**SAID, "reasoning_content": "It is a desert."}]}


def check(*rows: Any) -> Report:
    found = DatasetCheck(100_000)
    found.feed(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    return found.finish()


RIGHT: dict[str, tuple[Any, Kind, dict[str, int]]] = {
    "a call, its answer and a text": (tool_row(), "chat", {"tools": 1}),
    "a call at the end": (tool_row(ASKED, calls()), "chat", {"tools": 1}),
    "a text before the call": (
        tool_row(ASKED, calls(content="I look.", weight=0.5), answer(), SAID),
        "chat",
        {"tools": 1},
    ),
    "two calls answered in any order": (
        tool_row(ASKED, calls(call(), call(id="call_2")), answer(id="call_2"), answer(), SAID),
        "chat",
        {"tools": 1},
    ),
    "the same id in a later turn": (tool_row(*[ASKED, calls(), answer()] * 2, SAID), "chat", {"tools": 1}),
    "a call without an answer": (tool_row(ASKED, calls(), ASKED, SAID), "chat", {"tools": 1}),
    "an undeclared tool": (tool_row(ASKED, calls(call(name="snow"))), "chat", {"tools": 1}),
    "other arguments than declared": (tool_row(ASKED, calls(call("{}"))), "chat", {"tools": 1}),
    "calls without tools": ({"messages": [ASKED, calls()]}, "chat", {"tools": 1}),
    "tools that nothing calls": (tool_row(ASKED, SAID, parallel_tool_calls=True), "chat", {"tools": 1}),
    "a tool without parameters": (
        {**tool_row(ASKED, SAID), "tools": [{"type": "function", "function": {"name": "now"}}]},
        "chat",
        {"tools": 1},
    ),
    "an answer in parts": (
        tool_row(ASKED, calls(), {**answer(), "content": [{"type": "text", "text": "no"}]}, SAID),
        "chat",
        {"tools": 1},
    ),
    "no tools": ({"messages": [ASKED, SAID], "tools": None}, "chat", {}),
    "a reasoning": (REASONED, "chat", {"reasoning_content": 1}),
    "two answers": (PAIR, "preference", {"tools": 1}),
    "two answers in TRL's form": (TRL, "preference", {"tools": 1}),
    "two conversations": (WHOLE, "preference", {"tools": 1}),
    "a call in a key that is ignored": ({"messages": [ASKED, SAID], "prompt": [calls()]}, "chat", {}),
    "a labelled call": (LABELLED, "labelled", {"tools": 1}),
}


@pytest.mark.parametrize("name", RIGHT)
def test_accepts(name: str) -> None:
    row, kind, needs = RIGHT[name]
    report = check(row)
    assert (report.findings, report.kind, report.needs) == ([], kind, needs)


def test_a_file_remembers_the_first_line_of_each_need() -> None:
    assert check({"messages": [ASKED, SAID]}, REASONED, tool_row(), REASONED).needs == {
        "reasoning_content": 2,
        "tools": 3,
    }


def test_a_wrong_row_needs_nothing() -> None:
    assert check(tool_row(ASKED, calls(call("x"))), tool_row()).needs == {"tools": 2}


PLACES: list[tuple[Any, ...]] = [
    ("tools",),
    ("tools", 0),
    ("tools", 0, "function"),
    ("tools", 0, "function", "parameters"),
    ("tools", 0, "function", "parameters", "properties"),
    ("tools", 0, "function", "name"),
    ("messages", 1),
    ("messages", 1, "tool_calls"),
    ("messages", 1, "tool_calls", 0),
    ("messages", 1, "tool_calls", 0, "id"),
    ("messages", 1, "tool_calls", 0, "function"),
    ("messages", 1, "tool_calls", 0, "function", "arguments"),
    ("messages", 2, "tool_call_id"),
    ("messages", 2, "content"),
    ("messages", 1, "reasoning_content"),
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(
        [
            "",
            "object",
            "string",
            "rain",
            "call_1",
            "{}",
            '{"a": 1e999}',
            "\ud83d",
            "#/x",
            "http://127.0.0.1:9/",
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "name",
                    "function",
                    "arguments",
                    "properties",
                    "items",
                    "$ref",
                    "$schema",
                    "anyOf",
                    "\ud83d",
                    "id",
                ]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)


@given(st.sampled_from(PLACES), VALUES)
@settings(max_examples=200, deadline=None)
def test_no_value_in_any_place_raises_an_error(place: tuple[Any, ...], value: Any) -> None:
    row = json.loads(json.dumps(tool_row()))
    holder = row
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = value
    for finding in check(row).findings:
        finding.message.encode()
        finding.field.encode()
