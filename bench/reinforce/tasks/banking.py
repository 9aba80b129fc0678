"""Questions to a bank, to be given one of eight labels of banking77. A wrong label has a small reward."""

from __future__ import annotations

import csv
import random
from pathlib import Path

from bench.reinforce.tasks.task import Row, Task, question
from bench.training.workloads import SEED

LABELS = (
    *("card_arrival", "lost_or_stolen_card", "exchange_rate", "change_pin"),
    *("age_limit", "declined_card_payment", "terminate_account", "verify_my_identity"),
)
SYSTEM = f"Give the label of the question: {', '.join(LABELS)}"
EXAMPLES = (
    ("My card is not here yet. When will it come?", "card_arrival"),
    ("Somebody has taken my card. What do I do?", "lost_or_stolen_card"),
    ("Which rate do you use for euros?", "exchange_rate"),
    ("I want another PIN.", "change_pin"),
)

SOURCE = f"""
LABELS = {LABELS}


def grade(sample, item):
    found = sample["output_text"].strip()
    if found == item["intent"]:
        return 1.0
    return 0.2 if found in LABELS else 0.0
"""


def rows(data: Path | None, training: int, held_out: int) -> tuple[list[Row], list[Row]]:
    """Return questions of both files. Raises ValueError if there is no data, or too few rows."""
    if data is None:
        raise ValueError("The task banking reads banking77/train.csv: name its folder with --data.")
    return questions(data / "banking77/train.csv", training), questions(data / "banking77/test.csv", held_out)


def questions(path: Path, n: int) -> list[Row]:
    """Return `n` questions with one of the labels, always the same ones."""
    with path.open(newline="") as file:
        known = [line for line in csv.DictReader(file) if line["category"] in LABELS]
    if len(known) < n:
        raise ValueError(f"{path} has {len(known)} questions with these labels, but {n} are needed")
    chosen = random.Random(SEED).sample(known, n)
    return [
        question(SYSTEM, EXAMPLES, line["text"], line["category"], intent=line["category"]) for line in chosen
    ]


TASK = Task("banking", rows, {"type": "python", "name": "label", "source": SOURCE}, 16, steps=12)
