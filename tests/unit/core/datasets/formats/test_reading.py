"""Formats of datasets: each is recognised by its content, and read as rows that a job takes."""

import gzip
import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from core.datasets.findings import Finding
from core.datasets.formats.compression import expanded
from core.datasets.formats.json_array import ArrayReader
from core.datasets.formats.reading import Dataset, format_of, open_dataset
from core.datasets.formats.unreadable import Unreadable
from core.datasets.row_check import RowCheck
from tests.fixtures.paths import REPOSITORY
from tests.fixtures.rows.tool_rows import ASKED, RAIN_TOOL, SAID, call, calls

MAX_ROW, MAX_BYTES = 5000, 100_000
SHARED = REPOSITORY.parent / "shared" / "data"

TEXTS = st.text('a"\\,:[]{}\n é|', max_size=60)

USER, ANSWER = {"role": "user", "content": "Capital of Peru?"}, {"role": "assistant", "content": "Lima."}
CHAT = {"messages": [USER, ANSWER]}
PAIR = {
    "input": {"messages": [USER]},
    "preferred_output": [ANSWER],
    "non_preferred_output": [{"role": "assistant", "content": "Cusco."}],
}

PROMPT = {
    "messages": [USER],
    "prompt": [USER],
    "instruction": "x",
    "output": {"is": [1]},
    "conversations": [],
}


def opened(content: bytes, size: int = 7, max_bytes: int = MAX_BYTES, max_row: int = MAX_ROW) -> Dataset:
    chunks = (content[at : at + size] for at in range(0, len(content), size))
    return open_dataset(chunks, max_bytes, max_row)


def read(content: bytes, size: int = 7) -> list[tuple[int, Any]]:
    rows = opened(content, size).rows
    return [(line, row if isinstance(row, Finding) else json.loads(row)) for line, row in rows]


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


SHAPES: dict[str, tuple[Any, Any]] = {
    "prompt_completion": ({"prompt": "Capital of Peru?", "completion": "Lima."}, CHAT),
    "question_answer": ({"question": "Capital of Peru?", "answer": "Lima.", "id": 3}, CHAT),
    "input_output": ({"input": "Capital of Peru?", "output": "Lima."}, CHAT),
    "text_category": ({"text": "Capital of Peru?", "category": "Lima."}, CHAT),
    "alpaca": ({"instruction": "Capital of Peru?", "input": "", "output": "Lima."}, CHAT),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": USER["content"]}, {"from": "gpt", "value": "Lima."}]},
        CHAT,
    ),
    "prompt_completion_messages": ({"prompt": [USER], "completion": [ANSWER]}, CHAT),
    "chat_column": ({"messages": json.dumps(CHAT["messages"])}, CHAT),
    "labelled_texts": (
        {"prompt": "Capital of Peru?", "completion": "Lima.", "label": "True"},
        {**CHAT, "label": True},
    ),
    "preference_texts": ({"prompt": "Capital of Peru?", "chosen": "Lima.", "rejected": "Cusco."}, PAIR),
    "text": ({"text": "Lima."}, {"messages": [ANSWER]}),
}


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_becomes_a_row_that_a_job_takes(name: str) -> None:
    row, expected = SHAPES[name]
    assert opened(jsonl(row)).format[:2] == ("jsonl", name)
    assert not opened(jsonl(row)).format.native
    assert read(jsonl(row, row)) == [(1, expected), (2, expected)]
    assert read(json.dumps([row, row]).encode()) == [(1, expected), (2, expected)]
    assert RowCheck().findings(json.dumps(expected).encode()) == []


def test_prompts_keep_all_of_their_keys() -> None:
    expected = [(1, PROMPT), (2, {"messages": [USER]})]
    assert read(json.dumps([row for _, row in expected]).encode()) == expected
    old_form = {**PROMPT, "functions": [RAIN_TOOL["function"]]}
    assert read(jsonl(old_form)) == [(1, {**PROMPT, "tools": [RAIN_TOOL]})]
    cell = json.dumps(PROMPT["messages"]).replace('"', '""')
    csv = f'messages,answer,city\n"{cell}",Lima,true\n'.encode()
    assert opened(csv).format.name == "prompt_column"
    assert read(csv) == [(2, {"messages": [USER], "answer": "Lima", "city": "true"})]


@pytest.mark.parametrize(
    ("row", "name"),
    [(CHAT, "chat"), (PAIR, "preference"), ({**CHAT, "label": True}, "labelled"), (PROMPT, "prompt")],
)
def test_rows_that_a_job_takes_stay_as_they_are(row: Any, name: str) -> None:
    content = b"\xef\xbb\xbf" + jsonl(row) + b"not json\n"
    dataset = opened(content)
    assert (dataset.format.name, dataset.format.native) == (name, True)
    assert list(dataset.rows) == [(1, json.dumps(row).encode()), (2, b"not json")]


@pytest.mark.parametrize("indent", [None, 2])
def test_the_rows_of_an_array_are_counted_however_they_lie_on_lines(indent: int | None) -> None:
    dataset = opened(json.dumps([CHAT, CHAT, CHAT], indent=indent).encode())
    assert dataset.format.numbered_by == "row"
    assert [number for number, _ in dataset.rows] == [1, 2, 3]


@pytest.mark.parametrize("content", [jsonl(CHAT, CHAT), b"text,category\na,b\n", gzip.compress(jsonl(CHAT))])
def test_rows_with_lines_of_their_own_are_numbered_by_them(content: bytes) -> None:
    assert opened(content).format.numbered_by == "line"


def test_alpaca_keeps_its_input_its_system_prompt_and_its_history() -> None:
    row = {"instruction": "Add", "input": "1 2", "output": "3", "system": "Brief.", "history": [["Hi", "Ho"]]}
    (converted,) = [row for _, row in read(jsonl(row))]
    assert [(m["role"], m["content"]) for m in converted["messages"]] == [
        ("system", "Brief."),
        ("user", "Hi"),
        ("assistant", "Ho"),
        ("user", "Add\n\n1 2"),
        ("assistant", "3"),
    ]


def test_sharegpt_with_tools_becomes_calls_in_openais_form() -> None:
    turns = [
        {"from": "human", "value": "Rain?"},
        {"from": "function_call", "value": '{"name": "rain", "arguments": {"at": "Lima"}}'},
        {"from": "observation", "value": "no"},
        {"from": "gpt", "value": "No."},
    ]
    tools = json.dumps([{"name": "rain", "parameters": {"type": "object"}}])
    ((_, row),) = read(jsonl({"conversations": turns, "tools": tools}))
    call = row["messages"][1]["tool_calls"][0]
    assert call["function"] == {"name": "rain", "arguments": '{"at": "Lima"}'}
    assert row["messages"][2] == {"role": "tool", "content": "no", "tool_call_id": call["id"]}
    assert row["tools"] == [
        {"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}
    ]


OLD_FORM = {
    "messages": [
        ASKED,
        {
            "role": "assistant",
            "content": None,
            "function_call": {"name": "rain", "arguments": '{"place": "Lima"}'},
        },
        {"role": "function", "name": "rain", "content": "no"},
        SAID,
    ],
    "functions": [RAIN_TOOL["function"]],
}
TRLS_FORM = {
    "messages": [
        ASKED,
        {"role": "assistant", "tool_calls": [{"function": {"name": "rain", "arguments": {"place": "Lima"}}}]},
        {"role": "tool", "name": "rain", "content": "no"},
        SAID,
    ],
    "tools": [RAIN_TOOL["function"]],
    "id": 7,
}


@pytest.mark.parametrize("row", [OLD_FORM, TRLS_FORM])
def test_tools_in_other_forms_become_those_of_openai(row: Any) -> None:
    assert opened(jsonl(row)).format[:2] == ("jsonl", "chat_other_tools")
    ((_, converted),) = read(jsonl(row))
    asked, called, answered, said = converted["messages"]
    assert (asked, said) == (ASKED, SAID)
    assert called == calls(call(id="call_1_0"), content=None)
    assert (answered["tool_call_id"], answered["content"]) == ("call_1_0", "no")
    assert converted["tools"] == [RAIN_TOOL]
    assert RowCheck().findings(json.dumps(converted).encode()) == []


def test_two_answers_with_tools_in_another_form_become_those_of_openai() -> None:
    made = {"role": "assistant", "tool_calls": [{"name": "rain", "arguments": {"place": "Lima"}}]}
    row = {"prompt": [ASKED], "chosen": [made], "rejected": [SAID], "tools": json.dumps([RAIN_TOOL])}
    assert opened(jsonl(row)).format.name == "preference_other_tools"
    ((_, converted),) = read(jsonl(row))
    assert converted["chosen"] == [calls(call(id="call_0_0"), content=None)]
    assert converted["tools"] == [RAIN_TOOL]
    assert RowCheck().findings(json.dumps(converted).encode()) == []


def test_each_of_several_observations_answers_a_call_of_its_own() -> None:
    both = json.dumps([{"name": "rain", "arguments": {"place": place}} for place in ("Lima", "Cusco")])
    turns = [
        ("human", "Rain?"),
        ("function_call", both),
        ("observation", "no"),
        ("observation", "yes"),
        ("gpt", "No."),
    ]
    ((_, row),) = read(jsonl({"conversations": [{"from": who, "value": said} for who, said in turns]}))
    ids = [made["id"] for made in row["messages"][1]["tool_calls"]]
    assert [row["messages"][place]["tool_call_id"] for place in (2, 3)] == ids
    assert RowCheck().findings(json.dumps(row).encode()) == []


def test_csv_has_quotes_lines_in_cells_and_delimiters_of_three_kinds() -> None:
    content = b'text,category\r\n"Capital\nof ""Peru""?",Lima.\r\n\r\nRain?,No\r\n'
    assert opened(content).format[:2] == ("csv", "text_category")
    assert [(line, row["messages"][0]["content"]) for line, row in read(content)] == [
        (2, 'Capital\nof "Peru"?'),
        (5, "Rain?"),
    ]
    assert read(b"question;answer\nCapital of Peru?;Lima.\n") == [(2, CHAT)]
    assert read(b"question\tanswer\nCapital of Peru?\tLima.") == [(2, CHAT)]
    messages = json.dumps(CHAT["messages"]).replace('"', '""')
    assert read(f'id,messages\n1,"{messages}"\n'.encode()) == [(2, CHAT)]


def test_lines_of_text_are_rows() -> None:
    assert opened(b"Lima.\n\nLima.\n").format.name == "text"
    row = {"messages": [ANSWER]}
    assert read(b"Lima.\n\nLima.\n") == [(1, row), (3, row)]
    assert read(b'["Lima.", "Lima."]') == [(1, row), (2, row)]
    assert read(b"[INST] is not an array\n")[0][1]["messages"][0]["content"] == "[INST] is not an array"
    assert read(b"Capital of Peru? || Lima.\nno answer\n")[1][1].code == "other_format"
    assert read(b"Capital of Peru? || Lima.\n") == [(1, CHAT)]


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_compressed_files_are_read_as_the_files_in_them(compress: Any, size: int) -> None:
    assert opened(compress(jsonl(CHAT))).format.container == "jsonl, compressed"
    twice = compress(jsonl(CHAT)) + compress(jsonl(CHAT))
    assert read(twice, size) == [(1, CHAT), (2, CHAT)]


@pytest.mark.parametrize(("compress", "name"), [(gzip.compress, "gzip"), (zstd.compress, "zstd")])
def test_a_file_that_is_compressed_twice_is_called_so(compress: Any, name: str) -> None:
    with pytest.raises(Unreadable, match=f"compressed twice, gzip within {name}"):
        opened(compress(gzip.compress(jsonl(CHAT))))


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_a_bomb_ends_in_an_error_and_takes_little_memory(compress: Any) -> None:
    bomb = compress(jsonl(CHAT) + b"\n" * 50_000_000)
    tracemalloc.start()
    with pytest.raises(Unreadable, match="expands to more than 100,000 bytes"):
        list(opened(bomb, 10_000).rows)
    assert tracemalloc.get_traced_memory()[1] < 8_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("first", "wrong", "field"),
    [
        ({"instruction": "a", "output": "b"}, {"history": 5}, "history"),
        ({"conversations": [{"from": "human", "value": "a"}]}, {"tools": 5}, "tools"),
        ({"conversations": [{"from": "human", "value": "a"}]}, {"tools": "true"}, "tools"),
    ],
)
def test_a_value_of_a_wrong_type_is_a_finding_of_its_row(
    first: dict[str, Any], wrong: dict[str, Any], field: str
) -> None:
    (_, right), (line, finding) = opened(jsonl(first, first | wrong)).rows
    assert isinstance(right, bytes)
    assert isinstance(finding, Finding)
    assert (line, finding.field, finding.code) == (2, field, "other_format")


def test_json_that_is_too_deep_is_a_finding_of_its_row() -> None:
    for depth in range(900, 1000):
        messages = f"[{'[' * depth}{']' * depth}]"
        ((_, found),) = opened(jsonl({"messages": messages}), 65536).rows
        assert isinstance(found, bytes) or found.code in ("too_deep", "other_format")


def test_a_csv_record_is_limited_in_all_its_cells_and_lines() -> None:
    cell = '"' + "a\n" * (MAX_ROW // 4) + '"'
    assert len(read(f"prompt,completion\n{cell},b\n{cell},b\n".encode())) == 2
    with pytest.raises(Unreadable) as refused:
        read(f"prompt,completion\n{cell},{cell}\n".encode())
    assert refused.value.code == "row_too_long"


@pytest.mark.parametrize("compress", [gzip.compress, zstd.compress])
def test_the_parts_of_a_compressed_file_are_limited(compress: Any) -> None:
    def read_parts(content: bytes) -> bytes:
        return b"".join(expanded(iter([content]), max_bytes=100, most_parts=20))

    content = compress(b"text") + compress(b"") * 19
    assert read_parts(content) == b"text"
    with pytest.raises(Unreadable) as refused:
        read_parts(content + compress(b""))
    assert refused.value.code == "too_many_parts"


def test_a_blank_first_line_shows_no_format() -> None:
    assert opened(b"\nonly text\n").format.name == "text"
    assert opened(b"\nonly text\nand more\n").format.name == "text"
    assert opened(b"\na||b\n").format.name == "separated_text"


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | TEXTS,
        lambda each: st.lists(each) | st.dictionaries(TEXTS, each),
        max_leaves=8,
    ),
    st.integers(1, 9),
    st.sampled_from([None, 1]),
)
@settings(max_examples=60, deadline=None)
def test_an_array_is_cut_into_its_elements_wherever_its_chunks_are_cut(
    value: Any, size: int, indent: Any
) -> None:
    content = json.dumps([value, 1, value], indent=indent).encode()
    reader = ArrayReader(1_000_000)
    found = [each for at in range(0, len(content), size) for each in reader.feed(content[at : at + size])]
    assert [json.loads(element) for _, element in [*found, *reader.finish()]] == [value, 1, value]


@given(
    st.sampled_from(
        [
            b"",
            b"[",
            b"{",
            b"text,category\n",
            b"a||b\n",
            gzip.compress(b"{}", mtime=0)[:9],
            b"\x28\xb5\x2f\xfd",
        ]
    ),
    st.binary(max_size=300) | TEXTS.map(str.encode),
    st.integers(1, 50),
)
@settings(max_examples=150, deadline=None)
def test_no_bytes_crash_a_reader(head: bytes, content: bytes, size: int) -> None:
    try:
        for line, row in opened(head + content, size).rows:
            assert line >= 1
            assert isinstance(row, bytes | Finding)
    except Unreadable:
        pass


def test_the_format_of_a_file_shows_in_its_first_bytes() -> None:
    found = format_of(json.dumps([SHAPES["alpaca"][0]] * 1000).encode()[:5000], MAX_ROW)
    assert found is not None
    assert (found.container, found.name, found.words) == ("json_array", "alpaca", "Alpaca instructions")
    assert format_of(jsonl({"a": 1}), MAX_ROW) is None


FILES = {
    "alpaca/alpaca_en_demo.json": ("json_array", "alpaca", 999),
    "banking77/categories.json": ("json_array", "text", 77),
    "banking77/test.csv": ("csv", "text_category", 3080),
    "banking77/train.csv": ("csv", "text_category", 10003),
    "e2e_nlg/test.txt": ("separated_text", "separated_text", 4693),
    "e2e_nlg/valid.txt": ("separated_text", "separated_text", 4672),
    "gsm8k/test_500.jsonl": ("jsonl", "question_answer", 500),
    "gsm8k/train_2000.jsonl": ("jsonl", "question_answer", 2000),
    "identity/identity.json": ("json_array", "alpaca", 91),
    "kto/kto_en_demo.json": ("json_array", "labelled", 300),
    "preference/dpo_en_demo.json": ("json_array", "preference", 300),
    "text2sql/text2sql_chat.jsonl": ("jsonl", "chat", None),
    "toolcall/glaive_toolcall_en_demo.json": ("json_array", "sharegpt", 300),
}


@pytest.mark.parametrize("name", FILES)
def test_real_files_are_read_as_they_lie_there(name: str) -> None:
    path: Path = SHARED / name
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    container, shape, count = FILES[name]

    def chunks() -> Iterator[bytes]:
        with path.open("rb") as file:
            yield from iter(lambda: file.read(65536), b"")

    dataset = open_dataset(chunks(), 10**9, 4 * 1024**2)
    assert dataset.format[:2] == (container, shape)
    rows, check = list(dataset.rows), RowCheck()
    assert count is None or len(rows) == count
    wrong = [row for _, row in rows if isinstance(row, Finding)]
    assert wrong == []
    assert [finding for _, row in rows if isinstance(row, bytes) for finding in check.findings(row)] == []
