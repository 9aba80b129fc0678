"""Parquet: columns become rows as those of other formats, and files that do harm end in an error."""

import json
from typing import Any

import pyarrow as pa
import pytest

from api.files.format_advice import other_format
from core.datasets.findings import Finding
from core.datasets.formats.reading import Dataset, open_dataset
from core.datasets.formats.unreadable import Unreadable
from core.datasets.row_check import RowCheck
from tests.fixtures.rows.parquet import long_list, parquet, repeated
from tests.fixtures.rows.tool_rows import RAIN_TOOL, answer, call, calls

MAX_ROW, MAX_BYTES = 5000, 2_000_000
USER, ANSWER = {"role": "user", "content": "Capital of Peru?"}, {"role": "assistant", "content": "Lima."}
CHAT = {"messages": [USER, ANSWER]}


def opened(content: bytes) -> Dataset:
    chunks = (content[at : at + 1000] for at in range(0, len(content), 1000))
    return open_dataset(chunks, MAX_BYTES, MAX_ROW)


def read(content: bytes) -> list[Any]:
    return [row if isinstance(row, Finding) else json.loads(row) for _, row in opened(content).rows]


COLUMNS: dict[str, tuple[dict[str, Any], Any]] = {
    "chat": ({"messages": [USER, ANSWER], "id": 7, "source": "a"}, CHAT),
    "prompt_completion": ({"prompt": "Capital of Peru?", "completion": "Lima.", "score": 1.5}, CHAT),
    "prompt": (
        {"messages": [USER], "city": {"name": "Lima"}, "id": 7},
        {"messages": [USER], "city": {"name": "Lima"}, "id": 7},
    ),
    "prompt_column": (
        {"messages": json.dumps([USER]), "city": ["Lima"]},
        {"messages": [USER], "city": ["Lima"]},
    ),
    "text": ({"text": "Lima."}, {"messages": [ANSWER]}),
    "alpaca": ({"instruction": "Capital of Peru?", "input": "", "output": "Lima."}, CHAT),
    "sharegpt": (
        {
            "conversations": [
                {"from": "human", "value": "Capital of Peru?"},
                {"from": "gpt", "value": "Lima."},
            ]
        },
        CHAT,
    ),
    "chat_column": ({"messages": json.dumps(CHAT["messages"])}, CHAT),
    "labelled": ({**CHAT, "label": True}, {**CHAT, "label": True}),
    "preference": (
        {
            "prompt": "Capital of Peru?",
            "chosen": [USER, ANSWER],
            "rejected": [USER, {**ANSWER, "content": "?"}],
        },
        {"chosen": [USER, ANSWER], "rejected": [USER, {**ANSWER, "content": "?"}]},
    ),
    "preference_texts": (
        {"prompt": "Capital of Peru?", "chosen": "Lima.", "rejected": "Cusco."},
        {
            "input": {"messages": [USER]},
            "preferred_output": [ANSWER],
            "non_preferred_output": [{**ANSWER, "content": "Cusco."}],
        },
    ),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_become_rows_that_a_job_takes(name: str) -> None:
    row, expected = COLUMNS[name]
    content = parquet({key: [value] * 3 for key, value in row.items()})
    assert opened(content).format[:2] == ("parquet", name)
    assert read(content) == [expected] * 3
    assert RowCheck().findings(json.dumps(expected).encode()) == []


def test_calls_of_tools_in_columns_lose_the_keys_that_only_other_rows_have() -> None:
    tool = {"type": "function", "function": {**RAIN_TOOL["function"], "parameters": {"type": "object"}}}
    made = {"function": {"name": "rain", "arguments": {"place": "Lima"}}}
    messages = [USER, {"role": "assistant", "tool_calls": [made]}, {"role": "tool", "content": "no"}, ANSWER]
    content = parquet({"messages": [messages, [USER, ANSWER]], "tools": [[tool], []]})
    assert opened(content).format.name == "chat_other_tools"
    called = call(id="call_1_0")
    asked, plain = read(content)
    assert asked == {
        "messages": [USER, calls(called, content=None), answer("no", "call_1_0"), ANSWER],
        "tools": [tool],
    }
    assert plain["messages"] == CHAT["messages"]
    assert RowCheck().findings(json.dumps(asked).encode()) == []


def test_row_groups_are_read_one_after_the_other() -> None:
    content = parquet({"text": [str(number) for number in range(1000)]}, row_group_size=64)
    assert [row["messages"][0]["content"] for row in read(content)] == [str(number) for number in range(1000)]


def test_an_upload_says_how_to_convert_parquet() -> None:
    advice = other_format(parquet({"text": ["a"]})[:64], MAX_ROW)
    assert advice is not None
    assert advice.startswith("The file is Parquet, and a job takes JSON lines. Convert it: ")


def test_a_long_text_that_the_file_keeps_once_is_never_repeated_in_memory() -> None:
    content = parquet({"text": repeated("x" * 6000, 20_000)})
    found = read(content)
    assert {(row.code, row.field) for row in found} == {("row_too_long", "")}
    assert len(found) == 20_000


def test_a_list_of_nulls_is_a_row_that_is_too_long() -> None:
    (found,) = read(parquet({"messages": long_list(100_000)}))
    assert found.code == "row_too_long"


WHOLE = parquet({"text": [str(number) * 9 for number in range(99)]})
BAD: dict[str, tuple[bytes, str]] = {
    "only a beginning": (b"PAR1", "damaged_parquet"),
    "a wrong footer": (b"PAR1" + b"\xff" * 60 + b"PAR1", "damaged_parquet"),
    "a cut file": (parquet({"text": ["a"] * 9})[:-30], "damaged_parquet"),
    "a damaged page": (WHOLE[:20] + b"\xff" * 20 + WHOLE[40:], "damaged_parquet"),
    "no known column": (parquet({"picture": ["a"]}), "unknown_format"),
    "a text that inflates": (
        parquet({"text": ["x" * 3_000_000]}, compression="zstd", use_dictionary=False),
        "too_large_expanded",
    ),
    "a text that many rows share": (parquet({"text": repeated("x" * 1000, 3000)}), "too_large_expanded"),
    "a list of 17 million nulls": (parquet({"messages": long_list(17_000_000)}), "too_large_expanded"),
    "five lists of 14 million nulls": (
        parquet(
            {name: long_list(14_000_000) for name in ("messages", "tools", "chosen", "rejected", "prompt")}
        ),
        "too_large_expanded",
    ),
    "thousands of columns": (
        parquet({f"column{number}": ["a"] for number in range(2001)} | {"text": ["a"]}),
        "too_many_columns",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_ends_in_an_error_with_a_code(name: str) -> None:
    content, code = BAD[name]
    with pytest.raises(Unreadable) as caught:
        read(content)
    assert caught.value.code == code


def test_a_text_that_is_not_utf8_is_a_finding_of_its_row() -> None:
    bad, good = read(parquet({"text": pa.array([b"\xff", b"Lima."])}))
    assert (bad.code, good) == ("invalid_utf8", {"messages": [ANSWER]})
