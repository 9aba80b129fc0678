"""The lengths of rows in tokens, measured or estimated: outliers, and what a limit cuts."""

import itertools
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from core.datasets.checks.report import LengthBin, Lengths
from worker.dataset_checks.all_rows.columns import Columns
from worker.dataset_checks.all_rows.similarity import Rows
from worker.dataset_checks.finding_log import FindingLog

BINS = 40  # of a histogram, at most
BYTES_PER_TOKEN = 4.0  # of English text under the tokenizers of today's base models, about
OUTLIER_RANGES = 3.0  # interquartile ranges of the logarithms, beyond the third quartile
LEAST_RANGE = 0.25  # of the logarithms, so that rows of nearly equal lengths have no outliers
LEAST_ROWS = 20  # of which quartiles say something
LEAST_TOKENS = 64  # of an outlier: short rows harm nobody


def lengths_of(rows: Columns, bytes_per_token: float) -> Lengths:
    """Return the lengths of at least one row."""
    tokens = rows.tokens
    median, p95 = np.quantile(tokens, (0.5, 0.95), method="higher")
    return Lengths(
        shortest=int(tokens.min()),
        median=int(median),
        p95=int(p95),
        longest=int(tokens.max()),
        total=int(tokens.sum(dtype=np.int64)),
        bytes_per_token=round(bytes_per_token, 2),
        measured_rows=int(rows.measured.sum()),
        histogram=_histogram(tokens),
    )


def _histogram(tokens: Rows) -> list[LengthBin]:
    """Return how many rows have how many tokens, in at most BINS steps of equal, round width."""
    width = max(1, -(-int(tokens.max() + 1) // BINS))
    rounded = next(step for step in _round_steps() if step >= width)
    counts = np.bincount(tokens // rounded)
    return [LengthBin(tokens=at * rounded, rows=int(rows)) for at, rows in enumerate(counts)]


def _round_steps() -> Iterator[int]:
    for power in itertools.count():
        yield from (10**power, 2 * 10**power, 5 * 10**power)


def find_outliers(rows: Columns, log: FindingLog) -> None:
    """Add a note for each row that is much longer than the others."""
    tokens, lines = rows.tokens, rows.lines
    if len(tokens) < LEAST_ROWS:
        return
    logarithms = np.log(tokens)
    first, third = np.quantile(logarithms, (0.25, 0.75))
    limit = np.exp(third + OUTLIER_RANGES * max(third - first, LEAST_RANGE))
    for row in np.flatnonzero(tokens > max(limit, LEAST_TOKENS)):
        message = f"the row has {tokens[row]:,} tokens, where most have at most {int(np.exp(third)):,}"
        log.add("length_outlier", int(lines[row]), "", message, "check that it is one row, and needed whole")


def find_cuts(rows: Columns, max_length: int, log: FindingLog) -> None:
    """Add a finding for each row that is longer than `max_length` tokens, and so is cut at its end."""
    is_cut, nothing_left = rows.tokens > max_length, rows.prompt_tokens >= max_length
    fate = f"of which {max_length:,} are kept"
    for row in _described(log, "answer_cut", is_cut & nothing_left):
        message = f"the row has {_length(rows, row)}, {fate}, and its prompt fills them"
        mend = "shorten the prompt, or raise max_length: nothing of the answer is left"
        log.add("answer_cut", int(rows.lines[row]), "", message, mend)
    for row in _described(log, "row_cut", is_cut & ~nothing_left):
        lost = (rows.tokens[row] - max_length) / (rows.tokens[row] - rows.prompt_tokens[row])
        message = f"the row has {_length(rows, row)}, {fate}; {lost:.0%} of its answers are lost"
        log.add("row_cut", int(rows.lines[row]), "", message, "shorten it, or raise max_length")


def find_long_prompts(rows: Columns, max_length: int, log: FindingLog) -> None:
    """Add a finding for each prompt that is longer than `max_length` tokens: training leaves it out."""
    for row in _described(log, "prompt_too_long", rows.tokens > max_length):
        message = (
            f"the prompt has {_length(rows, row)}, more than {max_length:,}; it cannot be cut, so training "
            "leaves the row out"
        )
        log.add("prompt_too_long", int(rows.lines[row]), "", message, "shorten it, or raise max_length")


def _described(log: FindingLog, code: str, found: NDArray[np.bool_]) -> list[int]:
    """Return the positions that the log has room for, and count the others."""
    positions, room = np.flatnonzero(found), log.room(code)
    log.count_more(code, max(len(positions) - room, 0))
    return [int(position) for position in positions[:room]]


def _length(rows: Columns, row: int) -> str:
    tokens = f"{rows.tokens[row]:,} tokens"
    return tokens if rows.measured[row] else f"about {tokens}, estimated"
