"""What one criterion says of all rows of a run."""

from collections.abc import Sequence
from typing import Literal

from core.evals.criteria import LOWER_IS_BETTER, Criterion
from core.evals.results import CriterionResult, RowResult
from core.evals.statistics.intervals import Interval, interval_of_share, interval_of_value
from core.evals.statistics.samples import sampled_rows
from core.evals.statistics.scores import Scores, by_label_or_field, scores_of


def summarise(
    criterion: Criterion, results: Sequence[RowResult], rows: Sequence[int] | None = None, samples: int = 1
) -> CriterionResult:
    """Return the criterion's value over rows with its 95 % interval.

    `results` has the criterion's own result of each sample that was judged. The value is None if there is
    none. If rows have several samples, `rows` has the row of each result, in rising order.
    """
    (scores,) = scores_of(criterion, results, rows=rows)
    found = _interval(scores)
    passed = sum(result.passed for result in results)
    return CriterionResult(
        name=criterion.name,
        type=criterion.type,
        value=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        better=better_direction(criterion),
        passed=passed,
        failed=len(results) - passed,
        details=by_label_or_field(criterion, results),
        sampled=sampled_rows(criterion, results, rows, samples) if rows and samples > 1 else None,
    )


def better_direction(criterion: Criterion) -> Literal["higher", "lower"]:
    """Return whether higher or lower scores are better."""
    return "lower" if criterion.type in LOWER_IS_BETTER else "higher"


def _interval(scores: Scores) -> Interval | None:
    rows = len(scores.rows_NC)
    if not rows:
        return None
    if scores.are_shares:
        return interval_of_share(float(scores.rows_NC[:, 0].mean()), rows)
    return interval_of_value(scores.statistic, scores.rows_NC, scores.bounds)
