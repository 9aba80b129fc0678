"""Grades SQL by execution: on three SQLite databases of made-up rows, beside a reference.

The text of this file is the source of a grader. So it uses the standard library alone, and has no decorators.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections import Counter
from typing import Any

SEEDS = (1, 2, 3)  # of the databases: a wrong query seldom has the right result in all of them
RUNS = 0.2  # the reward of a query that runs and has another result
LOOKED_FOR = 0.75  # the share of cells with a value that the reference looks for, or one beside it
MOST_ROWS, MOST_STEPS, MOST_BYTES = 1000, 100_000, 100_000
TABLE = re.compile(r"CREATE TABLE (\w+) \(([^)]*)\)")
COMPARED = re.compile(r"(\w+) *(?:[<>=!]+|LIKE) *(\"[^\"]*\"|[\d.]+)")


def grade(sample: dict[str, Any], item: dict[str, Any]) -> float:
    """Return 1 for the reference's result in all databases, and a part for another query that runs."""
    answers, wanted = results(sample["output_text"], item), results(item["sql"], item)
    if None in answers:
        return 0.0
    return 1.0 if answers == wanted else RUNS


def is_telling(item: dict[str, Any]) -> bool:
    """Return whether the reference finds something in each database, and not the same in all."""
    found = results(item["sql"], item)
    return all(rows and any(map(any, rows)) for rows in found) and any(rows != found[0] for rows in found)


def results(query: str, item: dict[str, Any]) -> list[Counter[Any] | None]:
    """Return the rows of the query's result in each database, or None if it does not run there."""
    return [result(query, item, seed) for seed in SEEDS]


def result(query: str, item: dict[str, Any], seed: int) -> Counter[Any] | None:
    connection = sqlite3.connect(":memory:")
    try:
        fill(connection, item, random.Random(seed))
        confine(connection)
        cursor = connection.execute(query)
        return Counter(cursor.fetchmany(MOST_ROWS)) if cursor.description else None
    except (sqlite3.Error, sqlite3.Warning, ValueError):
        return None
    finally:
        connection.close()


def confine(connection: sqlite3.Connection) -> None:
    """Allow a query only to read, and give it an end."""
    allowed = (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION)
    connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MOST_BYTES)
    connection.set_progress_handler(lambda: 1, MOST_STEPS)
    connection.set_authorizer(
        lambda action, *_: sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY
    )


def fill(connection: sqlite3.Connection, item: dict[str, Any], chance: random.Random) -> None:
    """Make the tables of the schema. They compare texts without case, as questions spell them freely."""
    compared: dict[str, list[str]] = {}
    for column, value in COMPARED.findall(item["sql"]):
        compared.setdefault(column.lower(), []).append(value.strip('"'))
    for table, columns in TABLE.findall(item["schema"]):
        kinds = dict(column.split()[:2] for column in columns.split(","))
        declared = ", ".join(f'"{name}" {kind} COLLATE NOCASE' for name, kind in kinds.items())
        connection.execute(f'CREATE TABLE "{table}" ({declared})')
        for _ in range(chance.randint(20, 30)):
            row = [cell(name, kind, compared.get(name.lower(), []), chance) for name, kind in kinds.items()]
            places = ", ".join("?" * len(row))
            connection.execute(f'INSERT INTO "{table}" VALUES ({places})', row)  # noqa: S608


def cell(name: str, kind: str, values: list[str], chance: random.Random) -> str | float:
    """Return a value that the reference looks for, or one beside it. A quarter of the cells have another."""
    if values and chance.random() < LOOKED_FOR:
        return near(chance.choice(values), chance)
    return chance.randint(1, 99) if kind.upper().startswith("INT") else f"{name} {chance.randint(1, 6)}"


def near(value: str, chance: random.Random) -> str | float:
    """Return the value as it is, or if it is a number, one that differs by at most 1."""
    if not re.fullmatch(r"\d+(\.\d+)?", value):
        return value
    return (float(value) if "." in value else int(value)) + chance.choice((-1, 0, 1))
