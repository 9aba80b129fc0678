"""Files with a mistake, of every format: each ends with a code, and with the line and field of the mistake.

`ROWS` and `UPLOADED` have what an upload says of JSON lines, `CONVERTED` what a conversion says of a row, and
`UNREADABLE` what ends the reading of a file. `formats/test_parquet.py` has more files of Parquet.
"""

import gzip
import json
from typing import Any

import pytest
from backports import zstd

from core.datasets.check import DatasetCheck, RowFinding
from core.datasets.findings import Finding
from core.datasets.formats.reading import open_dataset
from core.datasets.formats.unreadable import Unreadable
from core.datasets.row_check import RowCheck
from tests.fixtures.rows.parquet import parquet
from tests.fixtures.rows.tool_rows import ASKED, RAIN_TOOL, SAID, answer, call, calls, tool_row

MAX_ROW, MAX_BYTES = 5000, 100_000
USER, ANSWER = {"role": "user", "content": "Capital of Peru?"}, {"role": "assistant", "content": "Lima."}
CHAT = {"messages": [USER, ANSWER]}
ALPACA = {"instruction": "Capital of Peru?", "input": "", "output": "Lima."}
QUESTION = {"question": "Capital of Peru?", "answer": "Lima."}
SHAREGPT = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Lima."}]}
LABELLED = {"prompt": "Capital of Peru?", "completion": "Lima.", "label": "True"}
COLUMN = {"messages": json.dumps(CHAT["messages"])}


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def tool(**function: Any) -> dict[str, Any]:
    """Return a row whose tool has other keys. Those that are None are left out."""
    changed = {
        key: value for key, value in {**RAIN_TOOL["function"], **function}.items() if value is not None
    }
    return {**tool_row(), "tools": [{"type": "function", "function": changed}]}


def called(made: Any, **message: Any) -> dict[str, Any]:
    """Return a row with this call, or these calls."""
    several = made if isinstance(made, list) else [made]
    return tool_row(ASKED, {"role": "assistant", "tool_calls": several, **message})


def without(found: dict[str, Any], key: str) -> dict[str, Any]:
    return {each: value for each, value in found.items() if each != key}


FUNCTION = "messages[1].tool_calls[0].function"
DECLARED = "tools[0].function"
PAIR = {
    "input": {"messages": [ASKED], "tools": [RAIN_TOOL]},
    "preferred_output": [calls()],
    "non_preferred_output": [SAID],
}

ROWS: list[tuple[Any, str, str]] = [
    # keys that nothing reads
    ({**CHAT, "\ud83d": 1}, "", "lone_surrogate"),
    # tools
    ({**CHAT, "tools": {"rain": 1}}, "tools", "wrong_type"),
    ({**tool_row(), "tools": "[]"}, "tools", "wrong_type"),
    (
        {**CHAT, "tools": [{"function": {"name": f"f{number}"}} for number in range(129)]},
        "tools",
        "too_many_tools",
    ),
    ({**CHAT, "tools": [without(RAIN_TOOL, "type")]}, "tools[0].type", "missing"),
    ({**CHAT, "tools": [{**RAIN_TOOL, "type": "retrieval"}]}, "tools[0].type", "unknown_type"),
    ({**CHAT, "tools": [{"type": "function"}]}, DECLARED, "missing"),
    ({**CHAT, "tools": [{**RAIN_TOOL, "strict": True}]}, "tools[0]", "unknown_key"),
    (tool(name=None), f"{DECLARED}.name", "missing"),
    (tool(name="the rain"), f"{DECLARED}.name", "invalid_name"),
    (tool(name="r" * 65), f"{DECLARED}.name", "invalid_name"),
    (tool(description=[]), f"{DECLARED}.description", "wrong_type"),
    (tool(strict="yes"), f"{DECLARED}.strict", "wrong_type"),
    ({**tool_row(), "tools": [RAIN_TOOL] * 2}, "tools[1].function.name", "duplicate_tool"),
    (tool(parameters="{}"), f"{DECLARED}.parameters", "wrong_type"),
    (tool(parameters={"type": "array"}), f"{DECLARED}.parameters.type", "invalid_schema"),
    (
        tool(parameters={"properties": {"place": {"type": "dict"}}}),
        f"{DECLARED}.parameters.properties.place.type",
        "invalid_schema",
    ),
    (tool(parameters={"required": "place"}), f"{DECLARED}.parameters.required", "invalid_schema"),
    (tool(parameters={"title": "\ud83d"}), DECLARED, "lone_surrogate"),
    (tool(description="\ud83d"), DECLARED, "lone_surrogate"),
    ({**tool_row(), "parallel_tool_calls": "no"}, "parallel_tool_calls", "wrong_type"),
    # calls
    (
        tool_row(ASKED, {"role": "assistant", "tool_calls": {"rain": 1}}),
        "messages[1].tool_calls",
        "wrong_type",
    ),
    (called("rain"), "messages[1].tool_calls[0]", "not_an_object"),
    (called(without(call(), "id")), "messages[1].tool_calls[0].id", "missing"),
    (called({**call(), "id": 1}), "messages[1].tool_calls[0].id", "missing"),
    (called([call(), call()]), "messages[1].tool_calls[1].id", "duplicate_call"),
    (called(without(call(), "type")), "messages[1].tool_calls[0].type", "missing"),
    (called({**call(), "index": 0}), "messages[1].tool_calls[0]", "unknown_key"),
    (called(without(call(), "function")), FUNCTION, "missing"),
    (called({**call(), "function": {"arguments": "{}"}}), f"{FUNCTION}.name", "missing"),
    (called(call(name="rain!")), f"{FUNCTION}.name", "invalid_name"),
    (called({**call(), "function": {"name": "rain"}}), f"{FUNCTION}.arguments", "missing"),
    (
        called({**call(), "function": {"name": "rain", "arguments": {}}}),
        f"{FUNCTION}.arguments",
        "wrong_type",
    ),
    (called(call("Lima")), f"{FUNCTION}.arguments", "invalid_arguments"),
    (called(call('{"place": "Li')), f"{FUNCTION}.arguments", "invalid_arguments"),
    (called(call('["Lima"]')), f"{FUNCTION}.arguments", "invalid_arguments"),
    (called(call('{"days": NaN}')), f"{FUNCTION}.arguments", "invalid_arguments"),
    (called(call('{"place": "a", "place": "b"}')), f"{FUNCTION}.arguments", "duplicate_key"),
    (
        called(call('{"place": ' + "[" * 2000 + "]" * 2000 + "}")),
        f"{FUNCTION}.arguments",
        "invalid_arguments",
    ),
    (called(call('{"place": "\\ud83d"}')), f"{FUNCTION}.arguments", "lone_surrogate"),
    (tool_row({**ASKED, "tool_calls": [call()]}, SAID), "messages[0].tool_calls", "misplaced"),
    (called(call(), content=5), "messages[1].content", "wrong_type"),
    # answers of tools
    (
        tool_row(ASKED, calls(), without(answer(), "tool_call_id"), SAID),
        "messages[2].tool_call_id",
        "missing",
    ),
    (tool_row(ASKED, calls(), answer(id="call_9"), SAID), "messages[2].tool_call_id", "unknown_call"),
    (tool_row(ASKED, answer(), calls()), "messages[1].tool_call_id", "unknown_call"),
    (tool_row(ASKED, calls(), answer(), answer(), SAID), "messages[3].tool_call_id", "unknown_call"),
    (tool_row(ASKED, calls(), ASKED, answer(), SAID), "messages[3].tool_call_id", "unknown_call"),
    (tool_row(ASKED, calls(), without(answer(), "content"), SAID), "messages[2].content", "missing"),
    (tool_row(ASKED, calls(), {**answer(), "weight": 1}, SAID), "messages[2].weight", "misplaced_weight"),
    (tool_row(ASKED, calls(), answer()), "messages[2].role", "last_not_assistant"),
    (tool_row({**ASKED, "tool_call_id": "1"}, SAID), "messages[0].tool_call_id", "misplaced"),
    # reasoning
    (
        {"messages": [{**USER, "reasoning_content": "x"}, ANSWER]},
        "messages[0].reasoning_content",
        "misplaced",
    ),
    (
        {"messages": [USER, {**ANSWER, "reasoning_content": ["x"]}]},
        "messages[1].reasoning_content",
        "wrong_type",
    ),
    ({"messages": [USER, {"role": "assistant", "reasoning_content": "x"}]}, "messages[1].content", "missing"),
    # two answers and labels
    ({**PAIR, "input": {"messages": [ASKED], "tools": [5]}}, "input.tools[0]", "not_an_object"),
    (
        {**PAIR, "preferred_output": [calls(call("x"))]},
        "preferred_output[0].tool_calls[0].function.arguments",
        "invalid_arguments",
    ),
    ({**PAIR, "non_preferred_output": [answer()]}, "non_preferred_output[0].tool_call_id", "unknown_call"),
    ({**called(call("x")), "label": True}, f"{FUNCTION}.arguments", "invalid_arguments"),
    ({"messages": [{**USER, "\ud83d": 1}, ANSWER]}, "messages[0]", "unknown_key"),
]

UPLOADED: dict[str, tuple[bytes, int, str, str]] = {
    "half a character in a key that nothing reads": (
        jsonl(CHAT, {**CHAT, "id": "\ud83d"}),
        2,
        "",
        "lone_surrogate",
    ),
    "a number that no float holds": (
        jsonl({**CHAT, "id": 17}).replace(b"17", b"1e999"),
        1,
        "",
        "invalid_json",
    ),
    "a tool is a text": (jsonl(CHAT, {**CHAT, "tools": ["rain"]}), 2, "tools[0]", "not_an_object"),
    "a surrogate in UTF-8": (jsonl(CHAT) + b'{"messages": "\xed\xa0\xbd"}', 2, "", "invalid_utf8"),
    "an overlong form": (jsonl(CHAT) + b'{"messages": "\xc0\xaf"}', 2, "", "invalid_utf8"),
    "a NUL byte in a text": (jsonl(CHAT) + b'{"messages": "\0"}', 2, "", "invalid_json"),
    "lines that end with CR alone": (jsonl(CHAT, CHAT).replace(b"\n", b"\r"), 1, "", "invalid_json"),
}


def code_and_field(value: Any) -> str | None:
    return value if isinstance(value, str) else None


@pytest.mark.parametrize(("row", "field", "code"), ROWS, ids=code_and_field)
def test_an_upload_names_the_field_and_the_mistake(row: Any, field: str, code: str) -> None:
    found = first_finding(jsonl(row))
    assert (found.field, found.code) == (field, code)


@pytest.mark.parametrize("name", UPLOADED)
def test_an_upload_names_the_line_and_the_mistake(name: str) -> None:
    content, *expected = UPLOADED[name]
    found = first_finding(content)
    assert [found.line, found.field, found.code] == expected


def first_finding(content: bytes) -> RowFinding:
    check = DatasetCheck(4 * MAX_ROW)
    check.feed(content)
    finding = check.finish().findings[0]
    assert finding.message.encode()
    return finding


UNREADABLE: dict[str, tuple[bytes, str, int | None]] = {
    "a zip": (b"PK\x03\x04....", "unsupported_format", None),
    "Parquet": (b"PAR1....", "damaged_parquet", None),
    "xz": (b"\xfd7zXZ\0", "unsupported_format", None),
    "cut gzip": (gzip.compress(jsonl(*[CHAT] * 99))[:-20], "damaged_compression", None),
    "cut zstd": (zstd.compress(jsonl(*[CHAT] * 99))[:-9], "damaged_compression", None),
    "damaged gzip": (b"\x1f\x8b" + b"\7" * 50, "damaged_compression", None),
    "damaged zstd": (b"\x28\xb5\x2f\xfd" + b"\xff" * 50, "damaged_compression", None),
    "an unknown object": (jsonl({"a": 1}), "unknown_format", None),
    "numbers": (b"[1, 2]", "unknown_format", None),
    "an array without an end": (json.dumps([CHAT, CHAT])[:-1].encode(), "invalid_json", 2),
    "text after an array": (json.dumps([CHAT]).encode() + b"\n x", "invalid_json", 2),
    "two commas in an array": (b"[" + json.dumps(CHAT).encode() + b",\n,1]", "invalid_json", 2),
    "a long element": (json.dumps([CHAT, "x" * 9000]).encode(), "row_too_long", 2),
    "a string without an end": (b'[{"messages": "' + b"x" * 9000, "row_too_long", 1),
    "a cell without an end": (b'text,category\n"' + b"x" * 9000, "row_too_long", 2),
    "a cell over many lines": (b'text,category\n"' + b"x\n" * 9000, "row_too_long", 2),
    "a quote in a cell": (b'text,category\n"a"b,c\n', "invalid_csv", 2),
    "CSV in Latin-1": (b"text,category\n\xe9,c\n" * 9, "invalid_utf8", None),
    "Parquet in gzip that is cut": (gzip.compress(parquet({"text": ["a"]})[:-9]), "damaged_parquet", None),
    "Parquet without a known column": (parquet({"picture": ["a"]}), "unknown_format", None),
    "bzip2": (b"BZh91AY&SY", "unsupported_format", None),
    "gzip in gzip that is cut": (gzip.compress(jsonl(CHAT))[:9], "damaged_compression", None),
    "a gzip bomb": (gzip.compress(jsonl(CHAT) + b"\n" * 200_000), "too_large_expanded", None),
    "a zstd bomb": (zstd.compress(jsonl(CHAT) + b"\n" * 200_000), "too_large_expanded", None),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_ends_in_an_error_with_a_code_and_a_place(name: str) -> None:
    content, code, number = UNREADABLE[name]
    with pytest.raises(Unreadable) as caught:
        list(open_dataset(pieces(content), MAX_BYTES, MAX_ROW).rows)
    assert (caught.value.code, caught.value.number) == (code, number)


CONVERTED: dict[str, tuple[bytes, int, str, str]] = {
    "no JSON": (jsonl(ALPACA) + b"{", 2, "", "invalid_json"),
    "no text": (jsonl(ALPACA, {"instruction": 1, "output": ""}), 2, "instruction", "other_format"),
    "no output": (jsonl(ALPACA, {"instruction": "a"}), 2, "output", "other_format"),
    "a wrong history": (jsonl(ALPACA, {**ALPACA, "history": [["a"]]}), 2, "history[0]", "other_format"),
    "another shape": (jsonl(QUESTION, CHAT), 2, "question", "other_format"),
    "no object": (jsonl(QUESTION, [1]), 2, "", "other_format"),
    "a repeated key": (jsonl({"text": "a"}) + b'{"text": "a", "text": "b"}', 2, "", "duplicate_key"),
    "a wrong turn": (
        jsonl(SHAREGPT, {"conversations": [{"from": "human"}]}),
        2,
        "conversations[0]",
        "other_format",
    ),
    "an unknown speaker": (
        jsonl(SHAREGPT, {"conversations": [{"from": "cat", "value": ""}]}),
        2,
        "conversations[0].from",
        "other_format",
    ),
    "no turns": (jsonl(SHAREGPT, {"conversations": 1}), 2, "conversations", "other_format"),
    "a call that is not JSON": (
        jsonl(SHAREGPT, {"conversations": [{"from": "function_call", "value": "x"}]}),
        2,
        "conversations[0].value",
        "other_format",
    ),
    "an observation of nothing": (
        jsonl(SHAREGPT, {"conversations": [{"from": "observation", "value": "x"}]}),
        2,
        "conversations[0]",
        "other_format",
    ),
    "a wrong label": (
        jsonl(LABELLED, {"prompt": "a", "completion": "b", "label": "maybe"}),
        2,
        "label",
        "other_format",
    ),
    "messages that are not JSON": (jsonl(COLUMN, {"messages": "x"}), 2, "messages", "other_format"),
    "half a character": (jsonl({"text": "a"}) + b'{"text": "\\ud83d"}', 2, "", "lone_surrogate"),
    "too few cells": (b"text,category\na,b\nc\n", 3, "", "other_columns"),
    "text that is not UTF-8": (b"a line\n\xff\xfe\n", 2, "", "invalid_utf8"),
    "a long line": (b"a line\n" + b"x" * 9000, 2, "", "row_too_long"),
    "no separator": (b"a||b\nc\n", 2, "", "other_format"),
    "a wrong element": (b'["a",\n 1]', 2, "", "other_format"),
    "UTF-16": ("[1]".encode("utf-16"), 1, "", "utf16"),
    "tools that are not JSON": (
        jsonl({**SHAREGPT, "tools": "[]"}, {**SHAREGPT, "tools": "rain"}),
        2,
        "tools",
        "other_format",
    ),
    "a call without a name": (
        jsonl(SHAREGPT, {"conversations": [{"from": "function_call", "value": "{}"}]}),
        2,
        "conversations[0].value",
        "other_format",
    ),
    "an element of an array with a wrong call": (
        json.dumps([CHAT, called(call("x"))]).encode(),
        2,
        f"{FUNCTION}.arguments",
        "invalid_arguments",
    ),
    "compressed lines with a wrong role": (
        gzip.compress(jsonl(CHAT, {"messages": [{**USER, "role": "bot"}, ANSWER]})),
        2,
        "messages[0].role",
        "unknown_role",
    ),
    "a cell with messages of a wrong role": (
        b'id,messages\n1,"[{""role"": ""bot"", ""content"": ""a""}]"\n',
        2,
        "messages[0].role",
        "unknown_role",
    ),
    "a null in a column of Parquet": (
        parquet({"prompt": ["a", "b"], "completion": ["c", None]}),
        2,
        "completion",
        "other_format",
    ),
    "a wrong role in a column of Parquet": (
        parquet({"messages": [[USER, ANSWER], [{**USER, "role": "bot"}, ANSWER]]}),
        2,
        "messages[0].role",
        "unknown_role",
    ),
    "a text of Parquet that is too long": (parquet({"text": ["a", "x" * 6000]}), 2, "", "row_too_long"),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_a_conversion_names_the_line_the_field_and_the_mistake(name: str) -> None:
    content, *expected = CONVERTED[name]
    check = RowCheck()
    found: list[list[Any]] = []
    for line, row in open_dataset(pieces(content), MAX_BYTES, MAX_ROW).rows:
        findings = [row] if isinstance(row, Finding) else check.findings(row)
        found += [[line, finding.field, finding.code] for finding in findings]
    assert found[0] == expected


def pieces(content: bytes, size: int = 700) -> Any:
    return (content[at : at + size] for at in range(0, len(content), size))
