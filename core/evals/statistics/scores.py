"""From the results of rows to the numbers from which a criterion's value follows."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from core.evals.criteria import Criterion
from core.evals.results import RowResult
from core.evals.statistics.intervals import ANYWHERE, BETWEEN_0_AND_1, NOT_NEGATIVE, Bounds
from core.evals.statistics.statistic import Array, MacroF1, Ratio, Statistic

MOST_DETAILS = 100  # labels or fields whose F1 a report has
BOUNDS = {
    "loss": NOT_NEGATIVE,
    "python": ANYWHERE,
    "score_model": ANYWHERE,
    "endpoint": ANYWHERE,
    "multi": ANYWHERE,
}


@dataclass(frozen=True)
class Scores:
    """The rows of a run, as numbers, with the statistic that sums them up."""

    statistic: Statistic
    rows_NC: Array
    bounds: Bounds

    @property
    def are_shares(self) -> bool:
        """Whether each row counts as one, and scores 0 or 1."""
        return isinstance(self.statistic, Ratio) and bool(
            np.isin(self.rows_NC[:, 0], (0, 1)).all() and (self.rows_NC[:, 1] == 1).all()
        )


def bounds_of(criterion: Criterion) -> Bounds:
    """Return between which numbers the criterion's scores lie."""
    return BOUNDS.get(criterion.type, BETWEEN_0_AND_1)


def scores_of(
    criterion: Criterion, *runs: Sequence[RowResult], rows: Sequence[int] | None = None
) -> list[Scores]:
    """Return the scores of each run. Rows that count in none, such as rows without tokens, are left out.

    `rows` has the row of each result, in rising order, if rows have several samples. A row's samples depend
    on each other, so their numbers are summed up: then an error of a value over rows is the one clustered by
    row (Miller, "Adding Error Bars to Evals", 2024, arXiv:2411.00640).
    """
    bounds = bounds_of(criterion)
    if criterion.type == "label_f1":
        labels = {result.counts["label"] for run in runs for result in run if result.counts}
        codes = {label: code for code, label in enumerate(sorted(labels))}
        statistic: Statistic = MacroF1(len(codes))
        coded = [_array([_coded(result, codes) for result in run]) for run in runs]
        return [Scores(statistic, rows_NC, bounds) for rows_NC in coded]
    fractions = [_by_row(_array([_fraction(criterion, result) for result in run]), rows) for run in runs]
    counting_N = np.logical_or.reduce([rows_NC[:, 1] > 0 for rows_NC in fractions])
    return [Scores(Ratio(), rows_NC[counting_N], bounds) for rows_NC in fractions]


def by_label_or_field(criterion: Criterion, results: Sequence[RowResult]) -> dict[str, float] | None:
    """Return F1 of each label or field, at most the MOST_DETAILS commonest. None for other criteria."""
    if criterion.type == "field_f1":
        fields = _commonest(field for result in results for field in result.counts or {})
        totals = {field: np.sum([_f1(result, field) for result in results], axis=0) for field in fields}
        return {field: float(above / below) for field, (above, below) in totals.items() if below}
    if criterion.type == "label_f1":
        (scores,) = scores_of(criterion, results)
        wanted = [result.counts["label"] for result in results if result.counts]
        labels = sorted(set(wanted))
        if isinstance(scores.statistic, MacroF1) and labels:
            f1_L = scores.statistic.by_label(scores.rows_NC, np.ones((1, len(scores.rows_NC))))[0]
            by_label = dict(zip(labels, f1_L.tolist(), strict=False))
            return {label: by_label[label] for label in _commonest(wanted)}
    return None


def _commonest(names: Iterable[str]) -> list[str]:
    return sorted(name for name, _ in Counter(names).most_common(MOST_DETAILS))


def _fraction(criterion: Criterion, result: RowResult) -> tuple[float, float]:
    """Return the row's numerator and denominator."""
    counts = result.counts or {}
    match criterion.type:
        case "loss":
            return counts["sum"], counts["tokens"]
        case "token_accuracy":
            return counts["right"], counts["tokens"]
        case "field_f1":
            parts = [_f1(result, field) for field in counts]
            return sum(above for above, _ in parts), sum(below for _, below in parts)
    return result.score, 1


def _f1(result: RowResult, field: str) -> tuple[float, float]:
    """Return the numerator and denominator of F1 of one field: 2·TP and 2·TP + FP + FN."""
    true_positives, false_positives, false_negatives = (result.counts or {}).get(field, (0, 0, 0))
    return 2 * true_positives, 2 * true_positives + false_positives + false_negatives


def _coded(result: RowResult, codes: dict[str, int]) -> tuple[float, float]:
    counts = result.counts or {}
    return codes[counts["label"]], codes.get(counts["predicted"], len(codes))


def _by_row(samples_NC: Array, rows: Sequence[int] | None) -> Array:
    """Return the sums of the samples of each row."""
    if rows is None or not len(samples_NC):
        return samples_NC
    _, starts = np.unique(rows, return_index=True)
    return np.add.reduceat(samples_NC, starts)


def _array(rows: list[tuple[float, float]]) -> Array:
    return np.array(rows, dtype=np.float64).reshape(-1, 2)
