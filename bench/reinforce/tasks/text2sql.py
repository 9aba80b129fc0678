"""Questions about a schema, to be answered with SQL. SQLite executes the answer and the right one."""

from __future__ import annotations

import random
from pathlib import Path

from bench.reinforce.tasks import execution
from bench.reinforce.tasks.task import Row, Task
from bench.training.workloads import SEED, read_lines

BEFORE, AFTER = "Given the following SQL schema:\n\n", "\n\nWrite a SQL query"
SOURCE = Path(execution.__file__).read_text()


def rows(data: Path | None, training: int, held_out: int) -> tuple[list[Row], list[Row]]:
    """Return different questions. Raises ValueError if there is no data, or too few rows.

    Questions whose right answers tell nothing on the grader's databases are left out.
    """
    if data is None:
        raise ValueError("The task text2sql reads text2sql/*.jsonl: name its folder with --data.")
    path = min((data / "text2sql").glob("*.jsonl"))
    found = [row for row in map(graded, read_lines(path)) if execution.is_telling(row)]
    if len(found) < training + held_out:
        raise ValueError(f"{path} has {len(found)} usable rows, but {training + held_out} are needed")
    chosen = random.Random(SEED).sample(found, training + held_out)
    return chosen[:training], chosen[training:]


def graded(row: Row) -> Row:
    """Return a chat of the file with what the grader reads."""
    *_, asked, answer = (turn["content"] for turn in row["messages"])
    return {**row, "schema": asked.removeprefix(BEFORE).partition(AFTER)[0], "sql": answer}


TASK = Task(
    "text2sql",
    rows,
    {"type": "endpoint", "name": "execution", "source": SOURCE},
    64,
    steps=14,
    held_out=38,
    warm_up_rows=32,
)
