"""Sentences about people, to be written as JSON of three fields. Each right field is a part of the reward."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bench.reinforce.tasks.task import Row, Task, question
from bench.training.workloads import SEED

SYSTEM = "Write the sentence as JSON."
EXAMPLES = (("Greta, 37, comes from Basel.", '{"name": "Greta", "age": 37, "city": "Basel"}'),)
NAMES = ("Ada", "Bruno", "Chen", "Dalia", "Emil", "Farida", "Goran", "Hanna", "Ivo", "Jun", "Kemal", "Lena")
CITIES = (
    "Bonn",
    "Lagos",
    "Lima",
    "Oslo",
    "Porto",
    "Pune",
    "Quito",
    "Riga",
    "Seoul",
    "Tunis",
    "Turin",
    "Vigo",
)
SENTENCES = (
    "{name} is {age} years old and lives in {city}.",
    "In {city} I met {name}, who had just turned {age}.",
    "At the age of {age}, {name} moved to {city}.",
    "{name} from {city} will be {next} next year.",
)

SOURCE = '''
import json

FIELDS = {"name": str, "age": int, "city": str}


def grade(sample, item):
    """Return a quarter for an object of these fields, and a quarter for each right one."""
    try:
        found = json.loads(sample["output_text"])
    except ValueError:
        return 0.0
    if not isinstance(found, dict) or set(found) != set(FIELDS):
        return 0.0
    if any(type(found[name]) is not FIELDS[name] for name in FIELDS):
        return 0.0
    right = sum(found[name] == item["fields"][name] for name in FIELDS)
    return 0.25 + 0.25 * right
'''


def rows(_: Path | None, training: int, held_out: int) -> tuple[list[Row], list[Row]]:
    """Return different sentences. None of those held out is for training too."""
    found = list(islice(people(random.Random(SEED)), training + held_out))
    return found[:training], found[training:]


def people(chance: random.Random) -> Iterator[Row]:
    seen = set()
    while True:
        name, age, city = chance.choice(NAMES), chance.randint(18, 90), chance.choice(CITIES)
        fields = {"name": name, "age": age, "city": city}
        sentence = chance.choice(SENTENCES).format(next=age + 1, **fields)
        if sentence not in seen:
            seen.add(sentence)
            yield question(SYSTEM, EXAMPLES, sentence, json.dumps(fields), fields=fields)


TASK = Task("fields", rows, {"type": "python", "name": "fields", "source": SOURCE}, 32)
