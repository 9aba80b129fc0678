"""Make the rows on which every trainer is measured, as chat JSONL.

    python -m bench.training.workloads --out bench/workloads --data DIR
    python -m bench.training.workloads --out bench/workloads              # only generated rows

DIR may hold `gsm8k/train*.jsonl` with {"question", "answer"} lines, `text2sql/*.jsonl` with chat rows, and
`e2e_nlg/valid.txt` with `meaning||sentence` lines, and `preference/*.json` with a list of {"conversations",
"chosen", "rejected"} in ShareGPT's form. If the file of a workload is missing, its rows are generated: they
have about the same lengths, and are the same on every machine. The first rows are for training, the rows
after them are held out for validation.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from bench.command_line import new_parser

Row = dict[str, Any]

ROWS = 48
VALIDATION_ROWS = 16
JOB_ROWS = 64
JOB_RANKS = (4, 8, 16, 32) * 4
SEED = 20

# About 380 tokens: so long that the common prefix is larger than a short question with its answer.
SQL_SYSTEM_PROMPT = """You are a helpful SQL assistant. Given a database schema and a question, write the \
correct SQL query.

Follow these rules:
1. Answer with one SELECT statement and nothing else: no explanation, no comment, no code fence and no \
semicolon at the end.
2. Use only the tables and columns of the schema, spelled exactly as they are spelled there. Never invent \
a column, even when the question seems to ask for one; choose the column whose name is nearest in meaning.
3. Write keywords and the names of functions in upper case, and put text values in double quotes with the \
letters of the question.
4. A column declared INTEGER is compared with a bare number. A column declared VARCHAR is compared with a \
quoted value, also when the value looks like a number or a date.
5. When the question asks how many, use COUNT. When it asks for a total, use SUM; for a mean, AVG; for the \
largest or the smallest value, MAX or MIN.
6. When the question asks for the row with the most or the least of something, sort by that column with \
ORDER BY and keep one row with LIMIT 1.
7. Join two tables only when the question needs columns of both. Name them T1 and T2 in the order in which \
they appear, join on the columns that they share, and write the alias before every column.
8. Conditions on single rows belong in WHERE, conditions on groups in HAVING. Combine several conditions \
with AND unless the question says that one of them is enough; then use OR.
9. Use DISTINCT only when the question speaks of different or unique values, and a nested query only when \
a value must first be looked up or when rows must be excluded with NOT IN."""


def chat(user: str, assistant: str, system: str | None = None) -> Row:
    turns = [("system", system), ("user", user), ("assistant", assistant)]
    return {
        "messages": [{"role": role, "content": content} for role, content in turns if content is not None]
    }


def gsm8k(path: Path | None, n: int = ROWS) -> list[Row]:
    """Return the first `n` word problems, about 230 tokens each; generated if `path` is None."""
    if path is None:
        return list(islice(word_problems(random.Random(SEED)), n))
    return [chat(line["question"], line["answer"]) for line in first_lines(path, n)]


def text2sql(path: Path | None, n: int = ROWS) -> list[Row]:
    """Return the first `n` questions after one long common system prompt, about 480 tokens each."""
    if path is None:
        return list(islice(sql_questions(random.Random(SEED)), n))
    lines = [{turn["role"]: turn["content"] for turn in line["messages"]} for line in first_lines(path, n)]
    return [chat(line["user"], line["assistant"], SQL_SYSTEM_PROMPT) for line in lines]


def e2e(path: Path | None, n: int) -> list[Row]:
    """Return `n` restaurants to describe, about 80 tokens each with the base's own system prompt."""
    if path is None:
        return list(islice(restaurants(random.Random(SEED)), n))
    with path.open() as file:
        pairs = [line.strip().split("||") for line in islice(file, n)]
    if len(pairs) < n:
        raise ValueError(f"{path} has {len(pairs)} rows, but {n} are needed")
    return [chat(meaning, sentence) for meaning, sentence in pairs]


def preference(path: Path | None, n: int) -> list[Row]:
    """Return the first `n` prompts with two answers each, in OpenAI's form; generated if `path` is None."""
    if path is None:
        return list(islice(judged_problems(random.Random(SEED)), n))
    found = json.loads(path.read_text())[:n]
    if len(found) < n:
        raise ValueError(f"{path} has {len(found)} rows, but {n} are needed")
    return [
        compared(
            [turn_of(turn) for turn in row["conversations"]], *map(turn_of, (row["chosen"], row["rejected"]))
        )
        for row in found
    ]


def turn_of(turn: dict[str, str]) -> dict[str, str]:
    roles = {"human": "user", "gpt": "assistant", "system": "system"}
    return {"role": roles[turn["from"]], "content": turn["value"]}


def compared(prompt: list[dict[str, str]], preferred: dict[str, str], other: dict[str, str]) -> Row:
    return {"input": {"messages": prompt}, "preferred_output": [preferred], "non_preferred_output": [other]}


def read_lines(path: Path, n: int | None = None) -> list[Row]:
    """Parse the first `n` lines, or all."""
    with path.open() as file:
        return [json.loads(line) for line in islice(file, n)]


def first_lines(path: Path, n: int) -> list[Row]:
    """Parse the first `n` lines. Raises ValueError if the file has fewer."""
    lines = read_lines(path, n)
    if len(lines) < n:
        raise ValueError(f"{path} has {len(lines)} rows, but {n} are needed")
    return lines


def word_problems(chance: random.Random) -> Iterator[Row]:
    """Yield purchases of one to five things. The answer has lines of arithmetic for each thing."""
    names = ["Ada", "Bruno", "Chen", "Dalia", "Emil"]
    things = ["notebooks", "lamps", "tickets", "plants", "jars"]
    while True:
        name, lines, steps, total = chance.choice(names), [], [], 0
        for _ in range(chance.randint(1, 5)):
            thing, count, price = chance.choice(things), chance.randint(2, 30), chance.randint(3, 90)
            cost = count * price
            total += cost
            lines.append(f"On the way home {name} buys {count} {thing} for {price} dollars each.")
            steps.append(f"The {thing} cost {count}*{price} = <<{count}*{price}={cost}>>{cost} dollars.")
            steps.append(f"So far {name} has paid {total} dollars.")
        question = " ".join([*lines, f"How many dollars does {name} spend altogether?"])
        yield chat(question, "\n".join([*steps, f"#### {total}"]))


def judged_problems(chance: random.Random) -> Iterator[Row]:
    """Yield problems with two answers: the arithmetic of the problem itself, and that of the next problem."""
    problems = word_problems(chance)
    for own in problems:
        *prompt, answer = own["messages"]
        yield compared(prompt, answer, next(problems)["messages"][-1])


def sql_questions(chance: random.Random) -> Iterator[Row]:
    """Yield questions about one table, with one or two conditions, for a value or an aggregate."""
    columns = ["season", "team", "venue", "score", "attendance", "country", "driver", "points", "opponent"]
    values = ["river city", "new harbour", "14-2", "east valley", "october 9", "north field"]
    aggregates = [
        ("", "Which {} is it"),
        ("COUNT", "How many {} are there"),
        ("MAX", "What is the largest {}"),
    ]
    while True:
        table = f"table_{chance.randint(10**6, 10**8)}_{chance.randint(1, 99)}"
        shown = chance.sample(columns, chance.randint(3, 5))
        wanted, *filters = shown[: chance.randint(2, 3)]
        conditions = [(column, chance.choice(values)) for column in filters]
        function, phrase = chance.choice(aggregates)
        schema = f"CREATE TABLE {table} ({', '.join(f'{column} VARCHAR' for column in shown)})"
        asked = " and ".join(f"the {column} is {value}" for column, value in conditions)
        where = " AND ".join(f'{column} = "{value}"' for column, value in conditions)
        user = (
            f"Given the following SQL schema:\n\n{schema}\n\n"
            f"Write a SQL query to answer: {phrase.format(wanted)} when {asked}?"
        )
        result = f"{function}({wanted})" if function else wanted
        query = f"SELECT {result} FROM {table} WHERE {where}"  # noqa: S608 (text to learn; never executed)
        yield chat(user, query, SQL_SYSTEM_PROMPT)


def restaurants(chance: random.Random) -> Iterator[Row]:
    """Yield four facts about a restaurant, and a sentence that has them all."""
    facts = {
        "food": (["French", "Indian", "Italian", "Japanese"], "serves {} food"),
        "price range": (["cheap", "moderate", "high"], "has {} prices"),
        "customer rating": (["low", "average", "5 out of 5"], "has a customer rating of {}"),
        "area": (["riverside", "city centre"], "lies in the {} area"),
        "near": (["the old mill", "the market hall", "the north gate"], "is near {}"),
    }
    names = ["The Copper Pot", "Blue Door", "Lantern House", "The Quiet Fig"]
    while True:
        name = chance.choice(names)
        chosen = {fact: chance.choice(facts[fact][0]) for fact in chance.sample(sorted(facts), 4)}
        meaning = " | ".join([f"name : {name}", *(f"{fact} : {value}" for fact, value in chosen.items())])
        said = [facts[fact][1].format(value) for fact, value in chosen.items()]
        yield chat(meaning, f"{name} {', '.join(said[:-1])} and {said[-1]}.")


WORKLOADS: dict[str, tuple[Callable[[Path | None, int], list[Row]], str]] = {
    "gsm8k": (gsm8k, "gsm8k/train*.jsonl"),
    "text2sql": (text2sql, "text2sql/*.jsonl"),
    "e2e16": (e2e, "e2e_nlg/valid.txt"),
    "preference": (preference, "preference/*.json"),
}
PAIRS = "preference"  # the workload whose files hold pairs; each answer of a pair counts as a row


@dataclass(frozen=True)
class Files:
    """The rows of one job."""

    train: Path
    validation: Path


def source_of(name: str, data: Path | None) -> str | None:
    """Return the name of the workload's file below `data`, or None if the rows are generated."""
    found = sorted(data.glob(WORKLOADS[name][1])) if data else []
    return str(found[0].relative_to(data)) if data and found else None


def build(name: str, out: Path, data: Path | None = None, n: int = ROWS) -> Files:
    """Write `n` rows of a workload, and the rows held out, to `out`. Raises KeyError for an unknown name.

    Each answer of a pair counts as a row.
    """
    size = 2 if name == PAIRS else 1
    return write(out, name, rows_of(name, data, (n + VALIDATION_ROWS) // size), n // size)


def build_jobs(name: str, out: Path, jobs: int, data: Path | None = None, n: int = JOB_ROWS) -> list[Files]:
    """Write the files of `jobs` jobs in the way of `build`. Each job has rows of its own."""
    each = n + VALIDATION_ROWS
    rows = rows_of(name, data, jobs * each)
    return [write(out, f"{name}-{job + 1:02}", rows[job * each : (job + 1) * each], n) for job in range(jobs)]


def rows_of(name: str, data: Path | None, n: int) -> list[Row]:
    source = source_of(name, data)
    return WORKLOADS[name][0](data / source if data and source else None, n)


def write(out: Path, name: str, rows: Sequence[Row], n: int) -> Files:
    """Write the first `n` rows for training, and the others for validation."""
    out.mkdir(parents=True, exist_ok=True)
    files = Files(out / f"{name}.jsonl", out / f"{name}-validation.jsonl")
    for path, part in ((files.train, rows[:n]), (files.validation, rows[n:])):
        path.write_text("".join(json.dumps(row) + "\n" for row in part))
    return files


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--data", type=Path, help="folder of data from elsewhere")
    given = parser.parse_args()
    for name in ("gsm8k", "text2sql", PAIRS):
        print(build(name, given.out, given.data).train)
    for files in build_jobs("e2e16", given.out, len(JOB_RANKS), given.data):
        print(files.train)


if __name__ == "__main__":
    main()
