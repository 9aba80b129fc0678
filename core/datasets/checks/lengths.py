"""The lengths of rows, estimated in tokens: outliers, and what a limit cuts."""

import numpy as np

from core.datasets.checks.columns import Columns
from core.datasets.checks.finding_log import FindingLog
from core.datasets.checks.report import Lengths

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
        total=int(tokens.sum()),
        bytes_per_token=round(bytes_per_token, 2),
    )


def find_outliers(rows: Columns, log: FindingLog) -> None:
    """Add a note for each row that is much longer than the others."""
    tokens, lines = rows.tokens, rows.lines
    if len(tokens) < LEAST_ROWS:
        return
    logarithms = np.log(tokens)
    first, third = np.quantile(logarithms, (0.25, 0.75))
    limit = np.exp(third + OUTLIER_RANGES * max(third - first, LEAST_RANGE))
    for row in np.flatnonzero(tokens > max(limit, LEAST_TOKENS)):
        message = f"the row has about {tokens[row]:,} tokens, where most have at most {int(np.exp(third)):,}"
        log.add("length_outlier", int(lines[row]), "", message, "check that it is one row, and needed whole")


def find_cuts(rows: Columns, max_length: int, log: FindingLog) -> None:
    """Add a finding for each row that is longer than `max_length` tokens, and so is cut at its end."""
    tokens, prompts, lines = rows.tokens, rows.prompt_tokens, rows.lines
    is_cut, nothing_left = tokens > max_length, prompts >= max_length
    for code, found in (
        ("answer_cut", np.flatnonzero(is_cut & nothing_left)),
        ("row_cut", np.flatnonzero(is_cut & ~nothing_left)),
    ):
        room = log.room(code)
        for row in found[:room]:
            kept = f"the row has about {tokens[row]:,} tokens, estimated, of which {max_length:,} are kept"
            if code == "answer_cut":
                message = f"{kept}, and its prompt fills them"
                mend = "shorten the prompt, or raise max_length: nothing of the answer is left"
            else:
                lost = (tokens[row] - max_length) / (tokens[row] - prompts[row])
                message, mend = (
                    f"{kept}; {lost:.0%} of its answers are lost",
                    "shorten it, or raise max_length",
                )
            log.add(code, int(lines[row]), "", message, mend)
        log.count_more(code, max(len(found) - room, 0))
