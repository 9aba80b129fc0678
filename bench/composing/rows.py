"""The rows of two tasks that have nothing in common: SQL for a question, and the intent of a message."""

from __future__ import annotations

import csv
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bench.training.workloads import SEED, Row, chat, first_lines

SQL, INTENTS = "SQL", "intents"
SQL_FILE, INTENTS_FILES = "text2sql/text2sql_chat.jsonl", ("banking77/train.csv", "banking77/test.csv")
CATEGORIES = (
    "activate_my_card",
    "age_limit",
    "card_arrival",
    "exchange_rate",
    "lost_or_stolen_card",
    "pin_blocked",
    "request_refund",
    "verify_my_identity",
)
PROMPT = f"Say what the customer of a bank wants. Answer with one of: {', '.join(CATEGORIES)}."


@dataclass(frozen=True)
class Task:
    """The rows of a task: those that its adapter trains on, those of a search for weights, and the others."""

    name: str
    training: Sequence[Row]
    search: Sequence[Row]
    test: Sequence[Row]
    epochs: int


def tasks(data: Path, searched: int, tested: int) -> tuple[Task, Task]:
    """Return both tasks, each with so many rows to search on and to test with."""
    return _sql(data, searched, tested), _intents(data, searched, tested)


def _sql(data: Path, searched: int, tested: int) -> Task:
    rows = first_lines(data / SQL_FILE, 100)
    kept = len(rows) - searched - tested
    return Task(SQL, rows[:kept], rows[kept : kept + searched], rows[kept + searched :], epochs=4)


def _intents(data: Path, searched: int, tested: int) -> Task:
    training, test = (_by_category(data / name) for name in INTENTS_FILES)
    known = [row for rows in training.values() for row in rows[:32]]
    random.Random(SEED).shuffle(known)
    return Task(INTENTS, known[searched:], known[:searched], _in_turn(test)[:tested], epochs=1)


def _by_category(path: Path) -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = defaultdict(list)
    with path.open(newline="") as file:
        for text, category in csv.reader(file):
            if category in CATEGORIES:
                found[category].append(chat(text.strip(), category, PROMPT))
    return found


def _in_turn(rows: dict[str, list[Row]]) -> list[Row]:
    """Return the first row of each category, then the second of each, and so on."""
    return list(chain.from_iterable(zip(*(rows[category] for category in CATEGORIES), strict=False)))
