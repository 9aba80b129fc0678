"""Rows as tokens: counts are exact, and guesses keep to what the file can have."""

import numpy as np
import pytest

from api.job_estimates.rows import Rows


def counted(lengths: list[int]) -> Rows:
    squares = float(sum(length**2 for length in lengths))
    return Rows.counted(len(lengths), 1, sum(lengths), max(lengths), squares)


def test_counted_rows_have_no_range() -> None:
    rows = counted([10, 20, 30])
    assert (rows.tokens, rows.least, rows.most, rows.exact) == (60, 60, 60, True)


@pytest.mark.parametrize(("batch", "steps"), [(1, 50), (4, 200), (16, 60)])
def test_the_largest_step_is_about_what_a_random_order_gives(batch: int, steps: int) -> None:
    generator = np.random.default_rng(7)
    lengths = generator.integers(20, 400, batch * steps)
    largest = [int(generator.permutation(lengths).reshape(steps, batch).sum(1).max()) for _ in range(20)]
    assert counted(lengths.tolist()).largest_step(batch, steps) == pytest.approx(np.median(largest), rel=0.1)


def test_rows_of_one_length_make_steps_of_one_size() -> None:
    assert counted([50] * 40).largest_step(8, 5) == 400


def test_a_guess_is_never_longer_than_the_rows_may_be() -> None:
    rows = Rows.guessed(100, 10**7, 10**6, rows_per_example=1, max_length=512)
    assert rows.longest == 512
    assert rows.least <= rows.tokens <= rows.most == 100 * 512
    assert not rows.exact


def test_a_part_has_its_share_of_the_tokens_and_is_not_exact() -> None:
    part = counted([10, 20, 30, 40]).part(2)
    assert (part.examples, part.tokens, part.longest, part.exact) == (2, 50, 40, False)
    assert part.least < part.tokens < part.most
    assert part.usual_row == counted([10, 20, 30, 40]).usual_row


def test_compared_rows_are_twice_as_many() -> None:
    rows = Rows.guessed(100, 40_000, 500, rows_per_example=2, max_length=512)
    assert (rows.examples, rows.rows) == (100, 200)
    assert rows.tokens > Rows.guessed(100, 40_000, 500, 1, 512).tokens
