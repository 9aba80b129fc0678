"""The scores that a grader's model may give: a few round numbers, from one end of the range to the other."""

import pytest

from worker.grading.model_graders import scores_between


@pytest.mark.parametrize(
    ("low", "high", "count", "second"),
    [
        (0, 1, 101, 0.01),
        (1, 7, 61, 1.1),
        (0, 10, 101, 0.1),
        (0, 100, 101, 1),
        (-1, 1, 21, -0.9),
        (0, 0.05, 51, 0.001),
        (0, 12345, 14, 1000),
        (2, 2, 1, None),
    ],
)
def test_scores_are_round_and_span_the_range(
    low: float, high: float, count: int, second: float | None
) -> None:
    found = scores_between(low, high)
    assert (found[0], found[-1], len(found)) == (low, high, count)
    assert second is None or found[1] == second
    assert found == sorted(found)
    assert len(set(found)) == count
