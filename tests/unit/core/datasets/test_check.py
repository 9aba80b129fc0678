"""The check of a chat dataset: each rule by its code, and what must hold for any bytes at all."""

import json
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionMessage

from core.datasets.chat_rules import row_findings
from core.datasets.check import MAX_BAD_ROWS, DatasetCheck, Report, RowFinding, describe, read_rows
from core.datasets.findings import Finding
from core.datasets.plain_chat import plain_chat
from core.datasets.reader import RowReader
from core.datasets.row_check import line_findings

USER = {"role": "user", "content": "Is it raining?"}
ANSWER = {"role": "assistant", "content": "It is."}
GOOD = {"messages": [USER, ANSWER]}
MAX_ROW = 1000


def line(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


GOOD_LINE = line(GOOD)


def messages(*said: Any, **row: Any) -> bytes:
    return line({"messages": list(said), **row})


def check_row(row: bytes) -> list[Finding]:
    return line_findings(row, row_findings) if plain_chat(row) is None else []


def codes(row: bytes) -> list[tuple[str, str]]:
    return [(finding.field, finding.code) for finding in check_row(row)]


def only(row: bytes) -> Finding:
    findings = check_row(row)
    assert len(findings) == 1, findings
    return findings[0]


def check(*chunks: bytes, max_row_bytes: int = MAX_ROW, max_findings: int = 100) -> Report:
    dataset = DatasetCheck(max_row_bytes, max_findings)
    for chunk in chunks:
        dataset.feed(chunk)
    return dataset.finish()


def line_codes(report: Report) -> list[tuple[int, str]]:
    return [(finding.line, finding.code) for finding in report.findings]


# Rows that are right


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


# Lines that are not JSON, or not strict JSON


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


# The rules of the format


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


def test_says_that_images_are_not_supported_yet() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    finding = only(messages({**USER, "content": [{"type": "text", "text": "What?"}, image]}, ANSWER))
    assert (finding.field, finding.code) == ("messages[0].content[1]", "unsupported")
    assert "images are not supported yet" in finding.message


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


# Cutting a file into lines


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_reads_both_line_ends(end: bytes) -> None:
    lines = RowReader(MAX_ROW)
    assert [*lines.feed(b"one" + end + b"two" + end + b"three"), *lines.finish()] == [
        (1, b"one"),
        (2, b"two"),
        (3, b"three"),
    ]


def test_skips_a_byte_order_mark_at_the_start_alone() -> None:
    assert check(b"\xef\xbb\xbf" + GOOD_LINE).ok
    assert check(b"\xef", b"\xbb", b"\xbf", GOOD_LINE).ok
    assert line_codes(check(GOOD_LINE + b"\n\xef\xbb\xbf" + GOOD_LINE)) == [(2, "invalid_json")]


def test_ignores_blank_lines_and_counts_them() -> None:
    report = check(b"\n \t\r \r\n" + GOOD_LINE + b"\n\n[]\n\n \n")
    assert report.rows == 2
    assert line_codes(report) == [(5, "not_an_object")]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_recognises_utf16_once(encoding: str) -> None:
    report = check(("".join([GOOD_LINE.decode() + "\n"] * 3)).encode(encoding))
    assert line_codes(report) == [(1, "utf16")]
    assert "save it as UTF-8" in report.findings[0].message


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_allows_a_row_of_exactly_the_longest_length(end: bytes) -> None:
    row = GOOD_LINE.ljust(MAX_ROW)
    assert check(row + end).ok
    assert check(row, end).ok
    assert check(row + end[:1], end[1:]).ok
    assert line_codes(check(row + b" " + end)) == [(1, "row_too_long")]
    assert line_codes(check(row, b" ", end)) == [(1, "row_too_long")]


def test_reports_a_long_row_once_and_reads_on() -> None:
    report = check(GOOD_LINE + b"\n", *[b"x" * 300] * 10, b"\n" + GOOD_LINE + b"\n[]")
    assert line_codes(report) == [(2, "row_too_long"), (4, "not_an_object")]
    assert report.rows == 4
    assert "1,000 bytes" in report.findings[0].message


# The report


@pytest.mark.parametrize("file", [b"", b"\n", b"\xef\xbb\xbf", b" \r\n\r\n"])
def test_refuses_a_file_without_rows(file: bytes) -> None:
    report = check(file)
    assert (line_codes(report), report.rows, report.ok) == ([(1, "empty_file")], 0, False)


def test_counts_beyond_the_findings_that_it_keeps() -> None:
    report = check(b'{"messages": [{}], "tool": 1}\n' * 5 + GOOD_LINE, max_findings=7)
    assert len(report.findings) == 7
    assert (report.rows, report.bad_rows, report.finding_count) == (6, 5, 20)


def test_reports_no_more_than_it_found() -> None:
    report = check(b"[]\n" + GOOD_LINE, max_findings=1)
    assert (report.finding_count, report.stopped) == (1, False)


def test_gives_up_on_a_file_of_mistakes() -> None:
    report = check(b"x\n" * (MAX_BAD_ROWS - 1), b"x\n" * 10, b"x\n")
    assert (report.rows, report.bad_rows, report.stopped) == (MAX_BAD_ROWS, MAX_BAD_ROWS, True)
    assert describe(report).endswith(" At least 9,997 more rows have errors.")


def test_describes_the_first_mistake_of_the_first_rows() -> None:
    bot = messages({**USER, "role": "bot", "x": 1}, ANSWER)
    assert describe(check(b"\n".join([GOOD_LINE, bot, messages(), GOOD_LINE, b"3", bot, b"[]"]))) == (
        "Line 2, messages[0]: unknown key 'x'; remove it. "
        "Line 3, messages: has no messages; add at least one from the assistant. "
        "Line 5: a row must be an object, not a number; write "
        '{"messages": [{"role": …, "content": …}, …]}. '
        "2 more rows have errors."
    )


def test_describes_a_role_as_promised() -> None:
    report = check(b"\n".join([messages({**USER, "role": "bot"}, ANSWER), b"[]", b"[]", b"[]"]))
    sentences = describe(report)
    assert sentences.startswith(
        "Line 1, messages[0].role: unknown role 'bot'; use one of system, developer, user, assistant, tool. "
    )
    assert sentences.endswith(" 1 more row has errors.")


def test_describes_a_right_file_with_nothing() -> None:
    assert describe(check(GOOD_LINE)) == ""


# What holds for any bytes

NEAR_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-1, 2)
    | st.floats()
    | st.sampled_from(["user", "assistant", "tool", "text", "", '"', "\\u0022", "\ud800", "é"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["messages", "role", "content", "weight", "type", "text"]), inner)
    ),
    max_leaves=12,
)
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system"]), "content": st.text(max_size=6) | NEAR_JSON},
    optional={"weight": st.sampled_from([0, 1, 1.0, True, None, 2]), "name": st.sampled_from(["a", None])},
)
ROW = (
    st.fixed_dictionaries(
        {"messages": st.lists(MESSAGE, min_size=1, max_size=4)},
        optional={"id": NEAR_JSON, "\ud800": NEAR_JSON},
    )
    | NEAR_JSON
)


@st.composite
def row_lines(draw: st.DrawFn) -> bytes:
    """Return a row as a client may write it: mostly correct, some with repeated keys, damage, odd escapes."""
    text = json.dumps(draw(ROW), ensure_ascii=draw(st.booleans()))
    if draw(st.booleans()):
        text = text.replace('\\"', "\\u0022")
    if draw(st.integers(0, 3)) == 0:
        text = text.replace(
            '"content":', draw(st.sampled_from(['"content": 1, "content":', '"role": "user", "content":']))
        )
    raw = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 3)) == 0:
        at = draw(st.integers(0, len(raw)))
        raw = raw[:at] + draw(st.binary(max_size=2)) + raw[at + draw(st.integers(0, 2)) :]
    return raw.replace(b"\n", b"")


@given(row_lines())
def test_a_row_that_the_fast_check_accepts_has_no_findings(row: bytes) -> None:
    if (found := plain_chat(row)) is not None:
        assert line_findings(row, row_findings) == []
        assert found == json.loads(row)


def test_the_fast_check_accepts_the_plain_row() -> None:
    row = messages({"role": "system", "content": 'a "b"\n'}, USER, {**ANSWER, "weight": 0}, USER, ANSWER)
    assert plain_chat(row) == json.loads(row)


@given(row_lines())
def test_an_accepted_row_reads_back(row: bytes) -> None:
    report = check(row, b"\n", max_row_bytes=10_000)
    if report.ok:
        assert [*read_rows([row])] == [(1, json.loads(row))]


FILES = st.lists(
    row_lines()
    | st.binary(max_size=12)
    | st.sampled_from([GOOD_LINE, b"", b"x" * 1200, b"\xef\xbb\xbf", b"\xff\xfe"]),
    max_size=6,
).flatmap(lambda rows: st.sampled_from([b"\n", b"\r\n", b"\r"]).map(lambda end: end.join(rows)))


@given(FILES | st.binary(), st.lists(st.integers(0, 3000)))
def test_no_bytes_raise_and_no_chunking_changes_the_report(file: bytes, cuts: list[int]) -> None:
    whole = check(file, max_findings=5)
    places = [0, *sorted(min(cut, len(file)) for cut in cuts), len(file)]
    chunks = [file[a:b] for a, b in pairwise(places)]
    assert check(*chunks, max_findings=5) == whole
    assert check(*[file[i : i + 1] for i in range(len(file))], max_findings=5) == whole
    assert whole.ok == (describe(whole) == "")
    describe(whole).encode()
    assert all(isinstance(finding, RowFinding) and finding.line >= 1 for finding in whole.findings)


@given(FILES)
def test_counts_lines_as_an_editor_does(file: bytes) -> None:
    report = check(file, max_row_bytes=10_000)
    if "utf16" not in [finding.code for finding in report.findings]:
        assert report.rows == sum(
            bool(row.strip(b" \t\r")) for row in file.removeprefix(b"\xef\xbb\xbf").split(b"\n")
        )


@pytest.mark.parametrize(
    ("piece", "chunks"),
    [(b"x", 800), (b'{"', 800), (b"\xff", 800), (b"\0", 800), (b"\n", 8), (b"[]\n", 8)],
    ids=[
        "a 50 MB line",
        "a 50 MB line of JSON",
        "50 MB of no text",
        "50 MB of NUL",
        "blank lines",
        "bad rows",
    ],
)
def test_memory_stays_bounded(piece: bytes, chunks: int) -> None:
    chunk = (piece * 65536)[:65536]
    dataset = DatasetCheck(max_row_bytes=200_000)
    tracemalloc.start()
    try:
        for _ in range(chunks):
            dataset.feed(chunk)
        dataset.finish()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_500_000


# Reading a checked file


def test_reads_the_rows_back_from_any_chunks() -> None:
    file = b"\xef\xbb\xbf" + GOOD_LINE + b"\r\n\n" + messages(ANSWER)
    rows = [*read_rows(file[i : i + 7] for i in range(0, len(file), 7))]
    assert rows == [(1, GOOD), (3, {"messages": [ANSWER]})], "line numbers count the blank line"


def test_reads_lazily() -> None:
    def stream() -> Any:
        yield GOOD_LINE + b"\n"
        pytest.fail("asked for a second chunk before the first row was taken")

    assert next(read_rows(stream())) == (1, GOOD)


@pytest.mark.parametrize("damaged", [b"{", b"[]", b"\xff", GOOD_LINE[:-1]])
def test_names_the_line_of_a_file_that_changed_after_its_check(damaged: bytes) -> None:
    with pytest.raises(ValueError, match="line 2"):
        list(read_rows([GOOD_LINE + b"\n" + damaged]))


def test_needs_neither_torch_nor_a_web_framework() -> None:
    program = "import sys, core.datasets.check, cli.commands.files.sample; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "fastapi", "pydantic"} & set(loaded)
