"""Writes the rows that a job trains on, and the rows that it holds out, of its training file."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from typing import IO, Any

import msgspec

from core.datasets.check import MIN_ROWS
from core.datasets.findings import Finding
from core.datasets.kinds import Kind
from core.datasets.preparation.requests import AUGMENTATION, SPLIT, Preparation
from core.datasets.reader import RowReader
from core.errors import JobError
from worker.rendering.preparation.splitting import HeldOut, RowsToSplit
from worker.rendering.preparation.variants import Variants
from worker.rendering.preparation.written import Written, WrittenRows

Lines = Iterator[tuple[int, bytes]]

_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True)
class Prepared:
    """The rows that were written: to train on, with the variants among them, and to hold out.

    `answers` and `all_alike` are those of the split.
    """

    training: Written
    augmented_rows: int
    validation: Written
    answers: int | None = None
    all_alike: bool = False


def prepare(
    read: Callable[[], Lines], kind: Kind, asked: Preparation, seed: int, training: IO[bytes], held: IO[bytes]
) -> Prepared:
    """Write the rows to train on and those to hold out, in the order of the file. `read` begins to read it.

    Rows are written as they are; variants follow their row. Raises JobError if too few rows are left.
    """
    split = _split(read, kind, asked, seed) if asked.validation_split is not None else None
    variants = Variants(asked.augmentation, kind, seed) if asked.augmentation else None
    is_held = split.rows.tolist() if split else repeat(False)
    train_on, hold_out, augmented = WrittenRows(training), WrittenRows(held), 0
    for (line, content), out in zip(read(), is_held, strict=split is not None):
        (hold_out if out else train_on).write(content, kind)
        for variant in variants.of(line, _decode(content)) if variants and not out else ():
            train_on.write(msgspec.json.encode(variant), kind)
            augmented += 1
    if split:
        _refuse_too_few(train_on.count - augmented, hold_out.count)
    if variants and not augmented:
        raise JobError(
            "nothing_to_augment",
            "No row has a variant that differs from it. Name other kinds in 'augmentation', or leave it out.",
            AUGMENTATION,
        )
    found = (split.answers, split.all_alike) if split else (None, False)
    return Prepared(train_on.so_far, augmented, hold_out.so_far, *found)


def _split(read: Callable[[], Lines], kind: Kind, asked: Preparation, seed: int) -> HeldOut:
    rows, count = RowsToSplit(kind), 0
    for line, content in read():
        rows.add(line, _decode(content))
        count += 1
    return rows.hold_out(asked.held_out(count), seed)


def _refuse_too_few(rows: int, held_rows: int) -> None:
    if rows >= MIN_ROWS and held_rows:
        return
    raise JobError(
        "too_few_rows",
        f"The split holds {held_rows:,} rows out and leaves {rows:,} to train on; a job needs at least one "
        f"row and {MIN_ROWS}. Similar rows stay on one side, so they may not fit: hold more rows out, or "
        "name a 'validation_file'.",
        SPLIT,
    )


def lines_of(chunks: Iterable[bytes]) -> Lines:
    """Yield the number and the content of each line of a checked file, given in chunks cut anywhere."""
    reader = RowReader(max_row_bytes=sys.maxsize)
    for number, line in chain(chain.from_iterable(map(reader.feed, chunks)), reader.finish()):
        if isinstance(line, Finding):
            raise ValueError(f"line {number}: {line.message}")
        yield number, line
