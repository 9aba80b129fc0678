"""Train every available method on the whole service, and write the table of docs/methods.md.

    python -m bench.jobs.methods --data DIR                      # all methods: hours on two cores
    python -m bench.jobs.methods --data DIR --only ia3,vera      # some methods; the others keep their results
    python -m bench.jobs.methods --only none                     # write the table again

All methods train on the same rows of text2sql (DIR/text2sql/*.jsonl, or generated rows). Each method has a
service of its own, trains over its API, and uses its usual learning rate. Then a new process loads the
adapter with plain transformers and PEFT. It computes the loss on the rows held out, and greedy answers to
some of these rows. Each run is a file in bench/results/methods.
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
    parser.add_argument("--rows", type=positive, default=64, help="rows to train on (default 64)")
    parser.add_argument("--validation-rows", type=positive, default=20, help="rows held out (default 20)")
    parser.add_argument("--prompts", type=positive, default=20, help="held-out rows to answer (default 20)")
    return parser.parse_args(words)


def task_of(given: argparse.Namespace) -> Task:
    """Take the rows with their own, short system prompt."""
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
    """Count the answers that equal the expected answer letter by letter."""
    expected = [row["messages"][-1]["content"].strip() for row in rows]
    return {"exact": sum(answer == want for answer, want in zip(answers, expected, strict=True))}


if __name__ == "__main__":
    main()
