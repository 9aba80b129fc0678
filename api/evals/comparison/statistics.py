"""Whether a tuned model is better than its base on the same rows, by one criterion."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from api.evals.comparison.significance import holm, mid_p_mcnemar, swap_p_value
from core.evals.criteria import LOWER_IS_BETTER, Criterion, gain
from core.evals.results import ChangedRows, CriterionComparison, RowResult, Verdict
from core.evals.statistics.intervals import (
    ANYWHERE,
    BETWEEN_0_AND_1,
    Interval,
    interval_of_difference,
    interval_of_share_difference,
)
from core.evals.statistics.scores import Scores, scores_of
from core.evals.statistics.statistic import Difference
from core.evals.statistics.summary import summarise

SIGNIFICANCE = 0.05


def compare(
    criterion: Criterion,
    first: Sequence[RowResult],
    second: Sequence[RowResult],
    rows: Sequence[int] | None = None,
) -> CriterionComparison:
    """Compare the results of the base (`first`) with those of the tuned model (`second`), row by row.

    Both have the criterion's own result of the same rows in the same order. If rows have several samples,
    `rows` has the row of each result, in rising order.
    """
    base, tuned = scores_of(criterion, first, second, rows=rows)
    found = _difference(base, tuned) if len(base.rows_NC) else None
    p_value = _p_value(base, tuned) if len(base.rows_NC) else None
    difference = found.value if found else None
    return CriterionComparison(
        name=criterion.name,
        type=criterion.type,
        base=summarise(criterion, first, rows),
        tuned=summarise(criterion, second, rows),
        difference=difference,
        low=found.low if found else None,
        high=found.high if found else None,
        p_value=p_value,
        adjusted_p_value=p_value,
        verdict=_verdict(criterion.type, difference, p_value),
        rows=_changed_rows(criterion, first, second, rows),
    )


def corrected(comparisons: Sequence[CriterionComparison]) -> list[CriterionComparison]:
    """Return the comparisons by all criteria with Holm's correction, so that the verdicts hold together."""
    adjusted = holm([comparison.p_value for comparison in comparisons])
    return [
        comparison.model_copy(
            update={
                "adjusted_p_value": p_value,
                "verdict": _verdict(comparison.type, comparison.difference, p_value),
            }
        )
        for comparison, p_value in zip(comparisons, adjusted, strict=True)
    ]


def _difference(base: Scores, tuned: Scores) -> Interval:
    if base.are_shares and tuned.are_shares:
        return interval_of_share_difference(*_gained_and_lost(base, tuned), len(base.rows_NC))
    bounds = (-1.0, 1.0) if base.bounds == BETWEEN_0_AND_1 else ANYWHERE
    return interval_of_difference(
        Difference(base.statistic), np.hstack([base.rows_NC, tuned.rows_NC]), bounds
    )


def _p_value(base: Scores, tuned: Scores) -> float:
    if base.are_shares and tuned.are_shares:
        return mid_p_mcnemar(*_gained_and_lost(base, tuned))
    return swap_p_value(base.statistic, base.rows_NC, tuned.rows_NC)


def _gained_and_lost(base: Scores, tuned: Scores) -> tuple[int, int]:
    change_N = tuned.rows_NC[:, 0] - base.rows_NC[:, 0]
    return int((change_N > 0).sum()), int((change_N < 0).sum())


def _verdict(kind: str, difference: float | None, p_value: float | None) -> Verdict:
    if difference is None or p_value is None or p_value >= SIGNIFICANCE:
        return "no_clear_difference"
    return "better" if (difference < 0) == (kind in LOWER_IS_BETTER) else "worse"


def _changed_rows(
    criterion: Criterion,
    first: Sequence[RowResult],
    second: Sequence[RowResult],
    rows: Sequence[int] | None,
) -> ChangedRows:
    by_row: dict[int, float] = defaultdict(float)
    for row, base, tuned in zip(rows or range(len(first)), first, second, strict=True):
        by_row[row] += gain(criterion, base.score, tuned.score)
    gains = list(by_row.values())
    better, worse = sum(change > 0 for change in gains), sum(change < 0 for change in gains)
    return ChangedRows(better=better, worse=worse, equal=len(gains) - better - worse)
