"""The rows of a job as tokens: counted when the file was rendered before, else guessed from its bytes."""

from dataclasses import dataclass, replace
from math import log, pi, sqrt

BYTES_PER_TOKEN = (2.2, 4.4, 7.0)
"""Bytes of a JSONL file for a token: least, expected and most. Keys and braces of a row about make up for
what a chat template adds. Few bytes make a token in code, numbers and languages beside English."""
SHORTEST = 0.5  # of the mean row, as the spread of rows that were never counted

DRAWN = 0.2  # by which the tokens of a drawn part may differ from its share


@dataclass(frozen=True)
class Rows:
    """The rows of one file, as a job of one objective renders them.

    An example is what the batch size counts: a row, or the two rows that an objective compares.
    """

    examples: int
    rows_per_example: int
    tokens: int
    """Tokens of all rows"""
    longest: int
    """Tokens of the longest row"""
    squares: float
    """The sum over the rows of their tokens squared: how much their lengths differ"""
    exact: bool
    least: int
    most: int
    """The range of `tokens`, which are all the same if they are exact"""

    @classmethod
    def counted(cls, rows: int, rows_per_example: int, tokens: int, longest: int, squares: float) -> "Rows":
        """Return rows that have been rendered. `rows` are all, also those of one example."""
        examples = rows // rows_per_example
        return cls(examples, rows_per_example, tokens, longest, squares, True, tokens, tokens)

    @classmethod
    def guessed(
        cls, lines: int, file_bytes: int, longest_line: int | None, rows_per_example: int, max_length: int
    ) -> "Rows":
        """Return what rows may have that nobody has rendered. Each line of the file is an example.

        The prompt of a compared row counts twice. Without `longest_line`, in bytes, the longest row is taken
        to have eight times the mean.
        """
        fewest, usual, most = BYTES_PER_TOKEN
        rows = max(1, lines * rows_per_example)
        twice = (1 + rows_per_example) / 2  # of the expected bytes, since the prompt is repeated
        most_tokens = min(rows * max_length, round(rows_per_example * file_bytes / fewest))
        tokens = min(rows * max_length, round(twice * file_bytes / usual))
        mean = tokens / rows
        longest = round(longest_line / usual) if longest_line else round(8 * mean)
        longest = max(1, round(mean), min(max_length, longest))
        spread = min(longest - mean, SHORTEST * mean)
        return cls(
            examples=lines,
            rows_per_example=rows_per_example,
            tokens=tokens,
            longest=longest,
            squares=rows * (mean**2 + spread**2),
            exact=False,
            least=min(tokens, round(file_bytes / most)),
            most=most_tokens,
        )

    def part(self, examples: int) -> "Rows":
        """Return so many examples of these, drawn at random, or variants of them. They are no more exact."""
        share = examples / max(1, self.examples)
        return replace(
            self,
            examples=examples,
            tokens=round(share * self.tokens),
            squares=share * self.squares,
            exact=False,
            least=round(share * self.least * (1 - DRAWN)),
            most=round(share * self.most * (1 + DRAWN)),
        )

    @property
    def rows(self) -> int:
        return self.examples * self.rows_per_example

    @property
    def mean(self) -> float:
        """Tokens of a row on average."""
        return self.tokens / max(1, self.rows)

    @property
    def usual_row(self) -> int:
        """Tokens of the row in which a token stands on average."""
        return max(1, round(self.squares / self.tokens)) if self.tokens else 1

    def largest_step(self, batch_size: int, steps: int) -> int:
        """Return the tokens of the largest of so many steps, about.

        The tokens of a step are a sum over its rows, so they are about normal, with the rows' variance times
        their number. The largest of n normal values lies about so many deviations above the mean (Cramér
        1946, section 28.6), with a = √(2 ln n): a - (ln ln n + ln 4π) / 2 a. No step has more than its rows
        can have.
        """
        batch = min(batch_size, self.examples) * self.rows_per_example
        variance = max(0.0, self.squares / max(1, self.rows) - self.mean**2)
        logarithm = log(max(3, steps))
        above = sqrt(2 * logarithm) - (log(logarithm) + log(4 * pi)) / (2 * sqrt(2 * logarithm))
        usual = batch * self.mean + above * sqrt(batch * variance)
        return round(min(batch * self.longest, max(self.longest, usual)))
