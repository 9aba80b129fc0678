"""The demo on a user's own file: it reads exactly the rows of the file."""

import json
from pathlib import Path

import pytest

from bench.peers.measuring import read_rows
from cli.demo.dataset import own_dataset

LINE_ENDS_OF_PYTHON = "one\u2028two\u0085three\u2029four\x1cfive"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    row = {
        "messages": [
            {"role": "user", "content": LINE_ENDS_OF_PYTHON},
            {"role": "assistant", "content": LINE_ENDS_OF_PYTHON},
        ]
    }
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\r\n" for _ in range(20)))
    return path


def test_a_row_that_holds_unusual_line_ends_stays_whole(data: Path, tmp_path: Path) -> None:
    dataset = own_dataset(data, tmp_path)
    training = [json.loads(line) for line in dataset.training.read_bytes().split(b"\n") if line]
    assert (len(training), len(dataset.held_out_rows)) == (10, 10)
    assert {m["content"] for row in [*training, *dataset.held_out_rows] for m in row["messages"]} == {
        LINE_ENDS_OF_PYTHON
    }


def test_the_benchmark_reads_such_rows_too(data: Path) -> None:
    assert len(read_rows(data)) == 20
