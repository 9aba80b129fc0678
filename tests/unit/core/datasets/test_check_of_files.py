"""The check of a whole file: its lines, its report, and what must hold for any bytes at all."""

import json
import subprocess
import sys
import tracemalloc
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.chat_rules import row_findings
from core.datasets.check import MAX_BAD_ROWS, DatasetCheck, Report, RowFinding, describe, read_rows
from core.datasets.plain_chat import plain_chat
from core.datasets.reader import RowReader
from core.datasets.row_check import line_findings
from tests.fixtures.rows.chats import ANSWER, GOOD, GOOD_LINE, MAX_ROW, USER, messages


def check(*chunks: bytes, max_row_bytes: int = MAX_ROW, max_findings: int = 100) -> Report:
    dataset = DatasetCheck(max_row_bytes, max_findings)
    for chunk in chunks:
        dataset.feed(chunk)
    return dataset.finish()


def line_codes(report: Report) -> list[tuple[int, str]]:
    return [(finding.line, finding.code) for finding in report.findings]


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
