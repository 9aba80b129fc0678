"""The check of a row of a chat dataset: each rule by its code."""

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletionMessage

from core.datasets.chat_rules import row_findings
from core.datasets.findings import Finding
from core.datasets.plain_chat import plain_chat
from core.datasets.row_check import line_findings
from tests.fixtures.rows.chats import ANSWER, GOOD, GOOD_LINE, USER, line, messages


def check_row(row: bytes) -> list[Finding]:
    return line_findings(row, row_findings) if plain_chat(row) is None else []


def codes(row: bytes) -> list[tuple[str, str]]:
    return [(finding.field, finding.code) for finding in check_row(row)]


def only(row: bytes) -> Finding:
    findings = check_row(row)
    assert len(findings) == 1, findings
    return findings[0]


@pytest.mark.parametrize(
    "row",
    [
        GOOD,
        {"messages": [ANSWER]},
        {"messages": [{"role": "system", "content": ""}, USER, ANSWER, USER, ANSWER]},
        {"messages": [{"role": "developer", "content": "Be brief."}, USER, ANSWER]},
        {"messages": [USER, {**ANSWER, "weight": 0}, USER, {**ANSWER, "weight": 1}]},
        {"messages": [USER, {**ANSWER, "weight": 1.0}]},
        {"messages": [USER, {**ANSWER, "weight": 0.25}]},
        {"messages": [USER, ANSWER, USER, {**ANSWER, "weight": 0}]},
        {"messages": [{**USER, "name": "ada"}, {**ANSWER, "name": "bot"}]},
        {"messages": [USER, {"role": "assistant", "content": [{"type": "text", "text": "It is."}]}]},
        {"messages": [USER, {**ANSWER, "weight": None, "refusal": None, "audio": None, "tool_calls": None}]},
        {"messages": [USER, {**ANSWER, "tool_calls": []}], "tools": [], "functions": None},
        {"messages": [USER, ANSWER], "parallel_tool_calls": True},
        {"messages": [{"role": "user", "content": "", "name": "ada"}, ANSWER]},
        {"messages": [USER, {"role": "assistant", "content": '"She said \\"hi\\"" \u0000 \\u0022 🌧'}]},
    ],
)
def test_accepts(row: Any) -> None:
    assert check_row(line(row)) == []
    assert check_row(json.dumps(row).encode()) == []
    assert check_row(json.dumps(row, indent=1).replace("\n", " ").encode()) == []


def test_names_the_byte_that_is_not_utf8() -> None:
    finding = only(GOOD_LINE.replace(b"raining", b"rain\xe9ng"))
    assert finding.code == "invalid_utf8"
    assert f"byte {GOOD_LINE.index(b'raining') + 5} of the line (0xe9)" in finding.message


def test_names_the_column_that_is_not_json() -> None:
    finding = only(b'{"messages": [,]}')
    assert finding.code == "invalid_json"
    assert "column 15" in finding.message


def test_counts_columns_in_characters() -> None:
    assert "column 9:" in only('{"éé": [,]}'.encode()).message


def test_tells_a_row_broken_over_lines() -> None:
    assert "incomplete at the end of the line" in only(b"{").message


def test_tells_two_rows_on_one_line() -> None:
    finding = only(GOOD_LINE + b" " + GOOD_LINE)
    assert finding.code == "invalid_json"
    assert f"before column {len(GOOD_LINE) + 2}; write one row on each line" in finding.message


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_refuses_constants_that_are_not_json(constant: str) -> None:
    row = '{"messages": "NaN \\" Infinity", "x": ' + constant + "}"
    finding = only(row.encode())
    assert finding.code == "invalid_json"
    assert f"{constant} at column {row.rindex(constant) + 1} " in finding.message


@pytest.mark.parametrize(
    ("row", "field", "key"),
    [
        (b'{"messages": [], %s' % GOOD_LINE[1:], "", "messages"),
        (GOOD_LINE.replace(b'"role": "user"', b'"role": "user", "role": "system"'), "messages[0]", "role"),
        (GOOD_LINE.replace(b'"content": "It', b'"content": 1, "content": "It'), "messages[1]", "content"),
        (
            GOOD_LINE.replace(b'"content": "It', rb'"content": 1, "content": "\u0022\u0022It'),
            "messages[1]",
            "content",
        ),
    ],
)
def test_refuses_a_key_that_occurs_twice(row: bytes, field: str, key: str) -> None:
    finding = only(row)
    assert (finding.field, finding.code) == (field, "duplicate_key")
    assert f"the key '{key}' occurs twice" in finding.message


def test_refuses_half_a_surrogate_pair() -> None:
    row = GOOD_LINE.replace(b"It is", rb"It \ud83d is")
    assert codes(row) == [("messages[1].content", "lone_surrogate")]
    assert check_row(GOOD_LINE.replace(b"It is", rb"It \ud83c\udf27 is")) == []


@pytest.mark.parametrize(
    "nested", [b"[" * 100_000 + b"]" * 100_000, b'{"a":' * 100_000 + b"1" + b"}" * 100_000]
)
def test_refuses_deep_nesting(nested: bytes) -> None:
    assert only(nested).code == "too_deep"
    assert only(b'{"messages": %s}' % nested).code == "too_deep"


def test_refuses_a_number_of_thousands_of_digits() -> None:
    assert only(b'{"messages": ' + b"1" * 10_000 + b"}").code == "invalid_json"


@pytest.mark.parametrize("row", ["[]", "3", '"text"', "null", "true"])
def test_refuses_a_row_that_is_no_object(row: str) -> None:
    assert codes(row.encode()) == [("", "not_an_object")]


def test_refuses_a_row_without_messages() -> None:
    finding = check_row(b'{"prompt": "a", "completion": "b"}')[0]
    assert (finding.field, finding.code) == ("messages", "missing")


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (line({"messages": {}}), ("messages", "wrong_type")),
        (line({"messages": None}), ("messages", "wrong_type")),
        (line({"messages": ""}), ("messages", "wrong_type")),
        (line({"messages": []}), ("messages", "empty")),
        (messages("hello", ANSWER), ("messages[0]", "not_an_object")),
        (messages(USER, ANSWER, "hello"), ("messages[2]", "not_an_object")),
        (messages(USER, ANSWER, tool=[1]), ("", "unknown_key")),
        (messages(USER, {**ANSWER, "extra": 1}), ("messages[1]", "unknown_key")),
        (messages({"content": "a"}, ANSWER), ("messages[0].role", "missing")),
        (messages({**USER, "role": ["user"]}, ANSWER), ("messages[0].role", "wrong_type")),
        (messages({**USER, "role": "bot"}, ANSWER), ("messages[0].role", "unknown_role")),
        (messages({**USER, "role": "Assistant"}, ANSWER), ("messages[0].role", "unknown_role")),
        (messages({"role": "user"}, ANSWER), ("messages[0].content", "missing")),
        (messages({**USER, "content": None}, ANSWER), ("messages[0].content", "missing")),
        (messages({**USER, "content": 3}, ANSWER), ("messages[0].content", "wrong_type")),
        (messages({**USER, "content": []}, ANSWER), ("messages[0].content", "empty")),
        (messages({**USER, "content": ["a"]}, ANSWER), ("messages[0].content[0]", "not_an_object")),
        (
            messages({**USER, "content": [{"type": "txt", "text": "a"}]}, ANSWER),
            ("messages[0].content[0].type", "unknown_part"),
        ),
        (
            messages({**USER, "content": [{"type": "text"}]}, ANSWER),
            ("messages[0].content[0].text", "missing"),
        ),
        (
            messages({**USER, "content": [{"type": "text", "text": "a", "size": 1}]}, ANSWER),
            ("messages[0].content[0]", "unknown_key"),
        ),
        (messages(USER, {**ANSWER, "content": ""}), ("messages[1].content", "empty")),
        (
            messages(USER, {**ANSWER, "content": [{"type": "text", "text": ""}]}),
            ("messages[1].content", "empty"),
        ),
        (messages(USER, {**ANSWER, "content": "", "weight": 0}, ANSWER), ("messages[1].content", "empty")),
        (messages(USER), ("messages", "no_assistant_message")),
        (messages(USER, ANSWER, USER), ("messages[2].role", "last_not_assistant")),
        (messages(USER, {**ANSWER, "weight": 0}), ("messages", "nothing_to_learn")),
        (messages({**USER, "weight": 1}, ANSWER), ("messages[0].weight", "misplaced_weight")),
        (messages({**USER, "name": 3}, ANSWER), ("messages[0].name", "invalid_name")),
        (messages(USER, {**ANSWER, "name": ""}), ("messages[1].name", "invalid_name")),
        (
            json.dumps({"messages": [{**ANSWER, "name": "\ud83d"}]}).encode(),
            ("messages[0].name", "invalid_name"),
        ),
        (messages(USER, ANSWER, parallel_tool_calls="yes"), ("parallel_tool_calls", "wrong_type")),
    ],
)
def test_refuses(row: bytes, expected: tuple[str, str]) -> None:
    assert codes(row) == [expected]


def test_takes_a_message_as_openais_client_dumps_it() -> None:
    dumped = ChatCompletionMessage(role="assistant", content="Yes.", annotations=[]).model_dump()
    assert {"refusal", "audio", "function_call", "tool_calls"} <= dumped.keys()
    assert codes(messages(USER, dumped)) == []


@pytest.mark.parametrize("nothing", [None, "", [], {}])
def test_an_unknown_key_of_a_message_may_be_null_or_empty(nothing: Any) -> None:
    assert codes(messages(USER, {**ANSWER, "reasoning_content": nothing})) == []


def test_ignores_keys_of_a_row_that_look_like_none_of_its_own() -> None:
    extra = {"id": 7, "metadata": {"split": "train"}, "message_id": "m-7", "source": "tickets"}
    assert codes(messages(USER, ANSWER, **extra)) == []


def test_names_the_key_that_a_misspelt_one_means() -> None:
    missing, unknown = check_row(line({"mesages": [USER, ANSWER]}))
    assert (missing.code, unknown.code) == ("missing", "unknown_key")
    assert "did you mean 'messages'" in unknown.message


@pytest.mark.parametrize("weight", [1.5, 2, -1, -0.5, True, False, "1", [], {}])
def test_refuses_a_weight_that_is_not_from_0_to_1(weight: Any) -> None:
    assert codes(messages(USER, ANSWER, USER, {**ANSWER, "weight": weight})) == [
        ("messages[3].weight", "invalid_weight")
    ]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (messages(USER, ANSWER, functions=[{"name": "f"}]), "functions"),
        (messages(USER, {"role": "assistant", "function_call": {"name": "f"}}), "messages[1].function_call"),
        (messages({"role": "function", "name": "f", "content": "4"}, ANSWER), "messages[0].role"),
        (messages(USER, {"role": "assistant", "content": None, "refusal": "No."}), "messages[1].refusal"),
        (messages(USER, {"role": "assistant", "audio": {"id": "a"}}), "messages[1].audio"),
    ],
)
def test_says_what_is_not_supported_yet(row: bytes, field: str) -> None:
    finding = only(row)
    assert (finding.field, finding.code) == (field, "unsupported")
    assert "not supported yet" in finding.message or "old form; write" in finding.message


def test_suggests_the_key_that_was_meant() -> None:
    assert (
        "unknown key 'contents'; did you mean 'content'?"
        in only(messages({**USER, "contents": 1}, ANSWER)).message
    )


def test_quotes_a_clients_text_clipped_and_escaped() -> None:
    message = only(messages({**USER, "role": "\0\n" + "x" * 1000}, ANSWER)).message
    assert len(message) < 200
    assert "\\x00\\n" in message
    assert only(b'{"messages": [{"role": "assistant", "content": "a", "\\ud800": 1}]}').message.encode()


def test_reports_20_findings_of_a_row_at_most() -> None:
    assert len(check_row(messages(*[{}] * 50))) == 20
