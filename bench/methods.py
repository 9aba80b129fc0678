"""Train every method on offer on the whole service, and write the table of docs/methods.md.

    python -m bench.methods --data DIR                          # all of them: hours on two cores
    python -m bench.methods --data DIR --only ia3,vera          # some; the others keep their results
    python -m bench.methods --only none                         # the table anew

All get the same rows, which are text2sql's (DIR/text2sql/*.jsonl, else generated), and train over the API
of a service of their own, with the method's usual learning rate. Then a fresh process loads the adapter in
plain transformers and PEFT, for its loss on the rows held out and for greedy answers to some of them. Each
run is a file in bench/results/methods.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from functools import partial
from itertools import islice

from bench.command_line import positive
from bench.jobs import table as method_table
from bench.jobs.cases import cases
from bench.jobs.run import Result, Task, arguments, run_all
from bench.training.workloads import SEED, Row, first_lines, source_of, sql_questions

MAX_NEW_TOKENS = 96


def main() -> None:
    given = arguments_of(sys.argv[1:])
    if given.only:
        task = task_of(given)
        chosen = [case for case in cases() if case.name in given.only]
        run_all(chosen, task, given, partial(exact, task.prompts))
    method_table.write(given.out, given.page)


def arguments_of(words: Sequence[str]) -> argparse.Namespace:
    parser = arguments(__doc__, [case.name for case in cases()], "methods")
    parser.add_argument("--rows", type=positive, default=64, help="to train on (default 64)")
    parser.add_argument("--validation-rows", type=positive, default=20, help="held out (default 20)")
    parser.add_argument("--prompts", type=positive, default=20, help="of those, to be answered (default 20)")
    return parser.parse_args(words)


def task_of(given: argparse.Namespace) -> Task:
    """Rows with their own system prompt, which is short."""
    source = source_of("text2sql", given.data)
    n = given.rows + given.validation_rows
    generated = islice(sql_questions(random.Random(SEED)), n)
    rows = first_lines(given.data / source, n) if source else list(generated)
    return Task(
        source=source or "generated",
        training=rows[: given.rows],
        validation=rows[given.rows :],
        prompts=rows[given.rows :][: given.prompts],
        epochs=given.epochs,
        batch_size=given.batch_size,
        max_new_tokens=MAX_NEW_TOKENS,
    )


def exact(rows: Sequence[Row], answers: Sequence[str]) -> Result:
    """How many answers are the expected one, letter by letter."""
    expected = [row["messages"][-1]["content"].strip() for row in rows]
    return {"exact": sum(answer == want for answer, want in zip(answers, expected, strict=True))}


if __name__ == "__main__":
    main()
