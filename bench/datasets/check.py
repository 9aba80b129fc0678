"""Measure the check of datasets: how well it finds planted copies, and what a row costs.

    python -m bench.datasets.check                         # a minute; writes bench/results/dataset-check.json
    python -m bench.datasets.check --file gsm8k.jsonl      # plants copies of the rows of a file, too
    python -m bench.datasets.check --rows 2000000          # the whole speed instead of an extrapolation

Copies are planted with 0, 5 and 20 % of their words edited: one third replaced, one third left out, and one
third added. Recall is the share of the planted copies that are found. Precision is the share of planted
copies among all that is found. Times are processor time of one process.
"""

from __future__ import annotations

import json
import random
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import BENCH
from bench.command_line import new_parser, positive
from core.datasets.checks.report import KEPT_FINDINGS
from core.datasets.formats.reading import open_dataset
from worker.dataset_checks.content_check import ContentCheck, RowsOfFile

SHARES = (0.0, 0.05, 0.2)
ORIGINALS = 2000
PLANTED = KEPT_FINDINGS  # at once, so that the report names all that was found
ROUNDS = 6
VOCABULARY = 20_000
AIM_ROWS, AIM_SECONDS, AIM_MEGABYTES = 2_000_000, 120, 500

Row = dict[str, Any]
Draw = random.Random


def words(draw: Draw, count: int) -> list[str]:
    """Return words whose frequencies fall as those of a language do."""
    return [f"w{int(VOCABULARY ** draw.random())}" for _ in range(count)]


def generated(draw: Draw, count: int) -> Iterator[Row]:
    for _ in range(count):
        yield chat(" ".join(words(draw, draw.randint(15, 25))), " ".join(words(draw, draw.randint(15, 25))))


def chat(question: str, answer: str) -> Row:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]}


def rows_of(path: Path) -> list[Row]:
    """Return the first rows of a file of any format."""
    with path.open("rb") as file:
        dataset = open_dataset(iter(lambda: file.read(65536), b""), 1 << 30, 1 << 22)
        found = [json.loads(row) for _, row in dataset.rows if isinstance(row, bytes)]
    return found[:ORIGINALS]


def edited(row: Row, share: float, draw: Draw) -> Row:
    """Return a copy of a row in which this share of the words is edited."""
    said = []
    for message in row["messages"]:
        text = [part for word in message["content"].split() for part in _edited_word(word, share, draw)]
        said.append({**message, "content": " ".join(text) or "w1"})
    return {"messages": said}


def _edited_word(word: str, share: float, draw: Draw) -> list[str]:
    if draw.random() >= share:
        return [word]
    other = words(draw, 1)[0]
    return draw.choice(([other], [], [word, other]))


def found_lines(check: ContentCheck, *codes: str) -> set[int | None]:
    report = check.finish().report
    return {each.line for each in report.findings if each.code in codes}


def duplicates(originals: list[Row], copies: list[Row]) -> set[int | None]:
    check = ContentCheck()
    for number, row in enumerate([*originals, *copies], 1):
        check.add(number, json.dumps(row).encode())
    return {
        line and line - len(originals) for line in found_lines(check, "exact_duplicate", "near_duplicate")
    }


def leaks(originals: list[Row], copies: list[Row]) -> set[int | None]:
    """Check copies, with other rows behind them, against the originals as a validation file."""
    validation = RowsOfFile()
    for number, row in enumerate(originals, 1):
        validation.read(number, json.dumps(row).encode())
    check = ContentCheck(validation)
    others = list(generated(Draw(99), len(originals)))
    for number, row in enumerate([*copies, *others], 1):
        check.add(number, json.dumps(row).encode())
    return found_lines(check, "leaked_row", "leaked_near_row")


def accuracy(
    find: Callable[[list[Row], list[Row]], set[int | None]], originals: list[Row], share: float
) -> dict[str, float]:
    planted = found = right = 0
    natural = find(originals, [])  # what is found without copies is in the rows themselves
    for number in range(ROUNDS):
        draw = Draw(number)
        copies = [edited(row, share, draw) for row in draw.sample(originals, PLANTED - len(natural))]
        lines = find(originals, copies) - natural
        planted, found = planted + len(copies), found + len(lines)
        right += sum(1 for line in lines if line is not None and 1 <= line <= len(copies))
    return {
        "recall": round(right / planted, 4),
        "precision": round(right / found, 4) if found else 1.0,
        "found_without_copies": len(natural),
    }


def speed(count: int) -> dict[str, Any]:
    """Check generated rows that are made beside, and return what that costs without their making."""
    block = [json.dumps(row).encode() for row in generated(Draw(1), 20_000)]
    before = _megabytes()
    check, began = ContentCheck(), time.process_time()
    for number in range(count):
        check.add(number + 1, block[number % len(block)].replace(b"w1 ", b"u%d " % number))
    rows_seconds, began = time.process_time() - began, time.process_time()
    check.finish()
    compared = time.process_time() - began
    peak = _megabytes()
    share = AIM_ROWS / count
    return {
        "rows": count,
        "bytes_per_row": round(sum(map(len, block)) / len(block)),
        "seconds_for_rows": round(rows_seconds, 2),
        "seconds_for_comparing": round(compared, 2),
        "rows_per_second": round(count / (rows_seconds + compared)),
        "megabytes": round(peak),
        "extrapolated": {
            "rows": AIM_ROWS,
            "seconds": round((rows_seconds + compared) * share),
            "megabytes": round(before + (peak - before) * share),
        },
        "aim": {"rows": AIM_ROWS, "seconds": AIM_SECONDS, "megabytes": AIM_MEGABYTES},
    }


def processor() -> str:
    named = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    return next(named, "unknown").partition(": ")[2]


def _megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = new_parser(__doc__)
    parser.add_argument("--rows", type=positive, default=200_000, help="rows whose check is timed")
    parser.add_argument("--file", type=Path, help="a file whose rows are copied, too")
    parser.add_argument("--output", type=Path, default=BENCH / "results" / "dataset-check.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = {"machine": processor(), "speed": speed(arguments.rows)}
    print(json.dumps(result["speed"]))
    sources = {"generated": list(generated(Draw(0), ORIGINALS))}
    if arguments.file is not None:
        sources[arguments.file.stem] = rows_of(arguments.file)
    for name, originals in sources.items():
        for share in SHARES:
            found = {each.__name__: accuracy(each, originals, share) for each in (duplicates, leaks)}
            result.setdefault("accuracy", {}).setdefault(name, {})[f"{share:.0%}"] = found
            print(f"{name}, {share:.0%} edited: {json.dumps(found)}")
    arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
