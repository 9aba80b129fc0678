"""Sums of two numbers below fifty, behind sums that are worked out. A reward says how near an answer is."""

from __future__ import annotations

import random
from itertools import product
from pathlib import Path

from bench.reinforce.tasks.task import Row, Task, question
from bench.training.workloads import SEED

SYSTEM = "Add the numbers."
EXAMPLES = (("21 + 34", "55"), ("6 + 3", "9"), ("8 + 17", "25"))
BELOW = 50

SOURCE = '''
import re


def grade(sample, item):
    """Return 1 for the sum, 0.9 if it is missed by one, and 0 if it is missed by ten or more."""
    found = re.match(r"\\d+$", sample["output_text"].strip())
    return max(0.0, 1 - abs(int(found.group()) - item["sum"]) / 10) if found else 0.0
'''


def rows(_: Path | None, training: int, held_out: int) -> tuple[list[Row], list[Row]]:
    """Return different sums. None of those held out is for training too."""
    pairs = list(product(range(BELOW), repeat=2))
    chosen = random.Random(SEED).sample(pairs, training + held_out)
    found = [
        question(SYSTEM, EXAMPLES, f"{left} + {right}", str(left + right), sum=left + right)
        for left, right in chosen
    ]
    return found[:training], found[training:]


TASK = Task("addition", rows, {"type": "python", "name": "near", "source": SOURCE}, 6, steps=20)
