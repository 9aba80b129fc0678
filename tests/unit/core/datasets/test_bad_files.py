"""Files with a mistake, of every format: each ends with a code, and with the line and field of the mistake.

`UPLOADED` has what an upload says of JSON lines, `CONVERTED` what a conversion says of a row, and
`UNREADABLE` what ends the reading of a file. `formats/test_parquet.py` has more files of Parquet.
"""

import gzip
import json
from typing import Any

import pytest
from backports import zstd

from core.datasets.check import DatasetCheck
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

UPLOADED: dict[str, tuple[bytes, int, str, str]] = {
    # keys that nothing reads
    "half a character in a key that nothing reads": (
        jsonl(CHAT, {**CHAT, "id": "\ud83d"}),
        2,
        "",
        "lone_surrogate",
    ),
    "half a character as a key": (jsonl({**CHAT, "\ud83d": 1}), 1, "", "lone_surrogate"),
    "a number that no float holds": (
        jsonl({**CHAT, "id": 17}).replace(b"17", b"1e999"),
        1,
        "",
        "invalid_json",
    ),
    # tools
    "tools are an object": (jsonl({**CHAT, "tools": {"rain": 1}}), 1, "tools", "wrong_type"),
    "tools are a text": (jsonl({**tool_row(), "tools": "[]"}), 1, "tools", "wrong_type"),
    "too many tools": (
        jsonl({**CHAT, "tools": [{"function": {"name": f"f{number}"}} for number in range(129)]}),
        1,
        "tools",
        "too_many_tools",
    ),
    "a tool is a text": (jsonl(CHAT, {**CHAT, "tools": ["rain"]}), 2, "tools[0]", "not_an_object"),
    "a tool without a type": (
        jsonl({**CHAT, "tools": [without(RAIN_TOOL, "type")]}),
        1,
        "tools[0].type",
        "missing",
    ),
    "a tool of another type": (
        jsonl({**CHAT, "tools": [{**RAIN_TOOL, "type": "retrieval"}]}),
        1,
        "tools[0].type",
        "unknown_type",
    ),
    "a tool without a function": (jsonl({**CHAT, "tools": [{"type": "function"}]}), 1, DECLARED, "missing"),
    "a tool with an unknown key": (
        jsonl({**CHAT, "tools": [{**RAIN_TOOL, "strict": True}]}),
        1,
        "tools[0]",
        "unknown_key",
    ),
    "a tool without a name": (jsonl(tool(name=None)), 1, f"{DECLARED}.name", "missing"),
    "a name with a space": (jsonl(tool(name="the rain")), 1, f"{DECLARED}.name", "invalid_name"),
    "a name that is too long": (jsonl(tool(name="r" * 65)), 1, f"{DECLARED}.name", "invalid_name"),
    "a description that is not text": (
        jsonl(tool(description=[])),
        1,
        f"{DECLARED}.description",
        "wrong_type",
    ),
    "strict is a text": (jsonl(tool(strict="yes")), 1, f"{DECLARED}.strict", "wrong_type"),
    "two tools of one name": (
        jsonl({**tool_row(), "tools": [RAIN_TOOL] * 2}),
        1,
        "tools[1].function.name",
        "duplicate_tool",
    ),
    "parameters are a text": (jsonl(tool(parameters="{}")), 1, f"{DECLARED}.parameters", "wrong_type"),
    "parameters of an array": (
        jsonl(tool(parameters={"type": "array"})),
        1,
        f"{DECLARED}.parameters.type",
        "invalid_schema",
    ),
    "a parameter of no JSON type": (
        jsonl(tool(parameters={"properties": {"place": {"type": "dict"}}})),
        1,
        f"{DECLARED}.parameters.properties.place.type",
        "invalid_schema",
    ),
    "required is a text": (
        jsonl(tool(parameters={"required": "place"})),
        1,
        f"{DECLARED}.parameters.required",
        "invalid_schema",
    ),
    "half a character in a schema": (
        jsonl(tool(parameters={"title": "\ud83d"})),
        1,
        DECLARED,
        "lone_surrogate",
    ),
    "half a character in a description": (jsonl(tool(description="\ud83d")), 1, DECLARED, "lone_surrogate"),
    "functions of the old form beside others": (
        jsonl(CHAT, {**CHAT, "functions": [RAIN_TOOL["function"]]}),
        2,
        "functions",
        "unsupported",
    ),
    "parallel_tool_calls is a text": (
        jsonl({**tool_row(), "parallel_tool_calls": "no"}),
        1,
        "parallel_tool_calls",
        "wrong_type",
    ),
    # calls
    "calls are an object": (
        jsonl(tool_row(ASKED, {"role": "assistant", "tool_calls": {"rain": 1}})),
        1,
        "messages[1].tool_calls",
        "wrong_type",
    ),
    "a call is a text": (jsonl(called("rain")), 1, "messages[1].tool_calls[0]", "not_an_object"),
    "a call without an id": (
        jsonl(called(without(call(), "id"))),
        1,
        "messages[1].tool_calls[0].id",
        "missing",
    ),
    "an id that is a number": (
        jsonl(called({**call(), "id": 1})),
        1,
        "messages[1].tool_calls[0].id",
        "missing",
    ),
    "two calls with one id": (
        jsonl(called([call(), call()])),
        1,
        "messages[1].tool_calls[1].id",
        "duplicate_call",
    ),
    "a call without a type": (
        jsonl(called(without(call(), "type"))),
        1,
        "messages[1].tool_calls[0].type",
        "missing",
    ),
    "a call with an index": (
        jsonl(called({**call(), "index": 0})),
        1,
        "messages[1].tool_calls[0]",
        "unknown_key",
    ),
    "a call without a function": (jsonl(called(without(call(), "function"))), 1, FUNCTION, "missing"),
    "a call without a name": (
        jsonl(called({**call(), "function": {"arguments": "{}"}})),
        1,
        f"{FUNCTION}.name",
        "missing",
    ),
    "a call of an odd name": (jsonl(called(call(name="rain!"))), 1, f"{FUNCTION}.name", "invalid_name"),
    "no arguments": (
        jsonl(called({**call(), "function": {"name": "rain"}})),
        1,
        f"{FUNCTION}.arguments",
        "missing",
    ),
    "arguments are an object": (
        jsonl(called({**call(), "function": {"name": "rain", "arguments": {}}})),
        1,
        f"{FUNCTION}.arguments",
        "wrong_type",
    ),
    "arguments are not JSON": (jsonl(called(call("Lima"))), 1, f"{FUNCTION}.arguments", "invalid_arguments"),
    "arguments are cut": (
        jsonl(called(call('{"place": "Li'))),
        1,
        f"{FUNCTION}.arguments",
        "invalid_arguments",
    ),
    "arguments are an array": (
        jsonl(called(call('["Lima"]'))),
        1,
        f"{FUNCTION}.arguments",
        "invalid_arguments",
    ),
    "arguments with NaN": (
        jsonl(called(call('{"days": NaN}'))),
        1,
        f"{FUNCTION}.arguments",
        "invalid_arguments",
    ),
    "arguments with a repeated key": (
        jsonl(called(call('{"place": "a", "place": "b"}'))),
        1,
        f"{FUNCTION}.arguments",
        "duplicate_key",
    ),
    "arguments that are too deep": (
        jsonl(called(call('{"place": ' + "[" * 2000 + "]" * 2000 + "}"))),
        1,
        f"{FUNCTION}.arguments",
        "invalid_arguments",
    ),
    "half a character in arguments": (
        jsonl(called(call('{"place": "\\ud83d"}'))),
        1,
        f"{FUNCTION}.arguments",
        "lone_surrogate",
    ),
    "a call of the old form": (
        jsonl(CHAT, {"messages": [USER, {"role": "assistant", "function_call": {"name": "f"}}]}),
        2,
        "messages[1].function_call",
        "unsupported",
    ),
    "a user who calls": (
        jsonl(tool_row({**ASKED, "tool_calls": [call()]}, SAID)),
        1,
        "messages[0].tool_calls",
        "misplaced",
    ),
    "a call and a wrong content": (jsonl(called(call(), content=5)), 1, "messages[1].content", "wrong_type"),
    # answers of tools
    "an answer without an id": (
        jsonl(tool_row(ASKED, calls(), without(answer(), "tool_call_id"), SAID)),
        1,
        "messages[2].tool_call_id",
        "missing",
    ),
    "an answer to another call": (
        jsonl(tool_row(ASKED, calls(), answer(id="call_9"), SAID)),
        1,
        "messages[2].tool_call_id",
        "unknown_call",
    ),
    "an answer before the call": (
        jsonl(tool_row(ASKED, answer(), calls())),
        1,
        "messages[1].tool_call_id",
        "unknown_call",
    ),
    "two answers to one call": (
        jsonl(tool_row(ASKED, calls(), answer(), answer(), SAID)),
        1,
        "messages[3].tool_call_id",
        "unknown_call",
    ),
    "an answer after the user's turn": (
        jsonl(tool_row(ASKED, calls(), ASKED, answer(), SAID)),
        1,
        "messages[3].tool_call_id",
        "unknown_call",
    ),
    "an answer without a content": (
        jsonl(tool_row(ASKED, calls(), without(answer(), "content"), SAID)),
        1,
        "messages[2].content",
        "missing",
    ),
    "an answer with a weight": (
        jsonl(tool_row(ASKED, calls(), {**answer(), "weight": 1}, SAID)),
        1,
        "messages[2].weight",
        "misplaced_weight",
    ),
    "a row that ends with an answer of a tool": (
        jsonl(tool_row(ASKED, calls(), answer())),
        1,
        "messages[2].role",
        "last_not_assistant",
    ),
    "a user with the id of a call": (
        jsonl(tool_row({**ASKED, "tool_call_id": "1"}, SAID)),
        1,
        "messages[0].tool_call_id",
        "misplaced",
    ),
    "a message of the old role": (
        jsonl(CHAT, {"messages": [USER, {"role": "function", "name": "f", "content": "4"}, ANSWER]}),
        2,
        "messages[1].role",
        "unsupported",
    ),
    # reasoning
    "a reasoning of the user": (
        jsonl({"messages": [{**USER, "reasoning_content": "x"}, ANSWER]}),
        1,
        "messages[0].reasoning_content",
        "misplaced",
    ),
    "a reasoning that is not text": (
        jsonl({"messages": [USER, {**ANSWER, "reasoning_content": ["x"]}]}),
        1,
        "messages[1].reasoning_content",
        "wrong_type",
    ),
    "a reasoning without an answer": (
        jsonl({"messages": [USER, {"role": "assistant", "reasoning_content": "x"}]}),
        1,
        "messages[1].content",
        "missing",
    ),
    # two answers and labels
    "a wrong tool of a pair": (
        jsonl({**PAIR, "input": {"messages": [ASKED], "tools": [5]}}),
        1,
        "input.tools[0]",
        "not_an_object",
    ),
    "a wrong call in an answer of a pair": (
        jsonl({**PAIR, "preferred_output": [calls(call("x"))]}),
        1,
        "preferred_output[0].tool_calls[0].function.arguments",
        "invalid_arguments",
    ),
    "a pair whose answer is of a tool": (
        jsonl({**PAIR, "non_preferred_output": [answer()]}),
        1,
        "non_preferred_output[0].tool_call_id",
        "unknown_call",
    ),
    "a wrong call in a labelled row": (
        jsonl({**called(call("x")), "label": True}),
        1,
        f"{FUNCTION}.arguments",
        "invalid_arguments",
    ),
    # bytes
    "an empty file": (b"", 1, "", "empty_file"),
    "only a byte order mark": (b"\xef\xbb\xbf", 1, "", "empty_file"),
    "UTF-16 with a mark": (jsonl(CHAT).decode().encode("utf-16"), 1, "", "utf16"),
    "UTF-16 without a mark": (jsonl(CHAT).decode().encode("utf-16-be"), 1, "", "utf16"),
    "UTF-32": (jsonl(CHAT).decode().encode("utf-32"), 1, "", "utf16"),
    "Latin-1": (jsonl(CHAT) + '{"messages": "é"}'.encode("latin-1"), 2, "", "invalid_utf8"),
    "a surrogate in UTF-8": (jsonl(CHAT) + b'{"messages": "\xed\xa0\xbd"}', 2, "", "invalid_utf8"),
    "an overlong form": (jsonl(CHAT) + b'{"messages": "\xc0\xaf"}', 2, "", "invalid_utf8"),
    "a NUL byte in a text": (jsonl(CHAT) + b'{"messages": "\0"}', 2, "", "invalid_json"),
    "a mark in the second line": (jsonl(CHAT) + b"\xef\xbb\xbf" + jsonl(CHAT), 2, "", "invalid_json"),
    "lines that end with CR alone": (jsonl(CHAT, CHAT).replace(b"\n", b"\r"), 1, "", "invalid_json"),
    "a row over two lines": (json.dumps(CHAT, indent=1).encode(), 1, "", "invalid_json"),
    "brackets without an end": (b"[" * 4000, 1, "", "too_deep"),
    "brackets that are too deep": (b'{"messages": ' + b"[" * 2000 + b"]" * 2000 + b"}", 1, "", "too_deep"),
    "a number of many digits": (b'{"messages": ' + b"9" * 4500 + b"}", 1, "", "invalid_json"),
    "half a character in a key": (
        jsonl({"messages": [{**USER, "\ud83d": 1}, ANSWER]}),
        1,
        "messages[0]",
        "unknown_key",
    ),
}


@pytest.mark.parametrize("name", UPLOADED)
def test_an_upload_names_the_line_the_field_and_the_mistake(name: str) -> None:
    content, *expected = UPLOADED[name]
    check = DatasetCheck(4 * MAX_ROW)
    check.feed(content)
    finding = check.finish().findings[0]
    assert [finding.line, finding.field, finding.code] == expected
    assert finding.message.encode()


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
    "no text": (
        jsonl(ALPACA, {"instruction": 1, "output": ""}),
        2,
        "instruction",
        "other_format",
    ),
    "no output": (jsonl(ALPACA, {"instruction": "a"}), 2, "output", "other_format"),
    "a wrong history": (
        jsonl(ALPACA, {**ALPACA, "history": [["a"]]}),
        2,
        "history[0]",
        "other_format",
    ),
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
    "messages that are not JSON": (
        jsonl(COLUMN, {"messages": "x"}),
        2,
        "messages",
        "other_format",
    ),
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


def test_there_are_eighty_bad_files_or_more() -> None:
    assert len(UPLOADED) + len(UNREADABLE) + len(CONVERTED) >= 80


def pieces(content: bytes, size: int = 700) -> Any:
    return (content[at : at + size] for at in range(0, len(content), size))
