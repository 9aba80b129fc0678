"""Whether a tuned model is better than its base on the same rows, by one criterion."""

from collections import defaultdict
from collections.abc import Sequence

from api.evals.comparison.correction import holm
from core.evals.criteria import LOWER_IS_BETTER, Criterion, gain
from core.evals.results import ChangedRows, CriterionComparison, RowResult, Verdict
from core.evals.statistics.difference import SIGNIFICANCE, difference_of
from core.evals.statistics.scores import scores_of
from core.evals.statistics.summary import summarise


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
    found = difference_of(base, tuned) if len(base.rows_NC) else None
    difference, p_value = (found.value, found.p_value) if found else (None, None)
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
