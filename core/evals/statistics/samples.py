"""What several samples of each row say of one criterion: pass@k, and whether there is anything to learn."""

from collections.abc import Iterator, Sequence
from itertools import groupby, takewhile
from math import comb
from statistics import fmean

import numpy as np

from core.evals.criteria import Criterion, tells_success
from core.evals.results import RowResult
from core.evals.sampled_rows import Histogram, RowOfSamples, SampledRows, SamplesVerdict
from core.evals.statistics.intervals import BETWEEN_0_AND_1
from core.evals.statistics.scores import bounds_of
from core.objectives.reinforcement import IF_TOO_EASY, IF_TOO_HARD

BINS = 10
MOST_SHOWN = 5  # of the worst and of the best rows
LEAST_VARIED = 0.1
"""The share of rows with variance below which a job is not worth its samples: of ten, nine teach nothing."""


def sampled_rows(
    criterion: Criterion, results: Sequence[RowResult], rows: Sequence[int], samples: int
) -> SampledRows | None:
    """Return what the samples say, or None if none could be judged.

    `rows` has the row of each result, in rising order, and `samples` is how often each row was sampled.
    """
    if not results:
        return None
    groups = list(_groups(results, rows))
    found = [_row(row, group) for row, group in groups]
    ranked = sorted(found, key=lambda row: row.mean_score)
    varied = sum(_varies(group) for _, group in groups)
    never = always = None
    if tells_success(criterion):
        never, always = (sum(row.passed == row.samples * all_ for row in found) for all_ in (0, 1))
    verdict = _verdict(len(found), varied, never, always)
    return SampledRows(
        samples_per_row=samples,
        rows=len(found),
        rows_without_variance=len(found) - varied,
        rows_never_passed=never,
        rows_always_passed=always,
        pass_at_k=None if never is None else _pass_at_each_k(found, samples),
        mean_scores=_histogram(criterion, [row.mean_score for row in found]),
        worst=ranked[:MOST_SHOWN],
        best=ranked[: -MOST_SHOWN - 1 : -1],
        verdict=verdict,
        advice=_advice(verdict, len(found), varied, never, always),
    )


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Return how likely one of k samples of a row passes, without bias, from at least k samples of it.

    1 - C(n - c, k) / C(n, k): no more than the share of all choices of k samples in which one passes (Chen et
    al., "Evaluating Large Language Models Trained on Code", 2021, arXiv:2107.03374).
    """
    return 1 - comb(samples - passed, k) / comb(samples, k)


def _pass_at_each_k(rows: Sequence[RowOfSamples], samples: int) -> dict[int, float]:
    """Return pass@k for the powers of two below the number of samples, and for that number."""
    powers = takewhile(lambda k: k < samples, (2**power for power in range(samples)))
    counting = {k: [row for row in rows if row.samples >= k] for k in (*powers, samples)}
    return {
        k: fmean(pass_at_k(row.samples, row.passed, k) for row in rows_of_k)
        for k, rows_of_k in counting.items()
        if rows_of_k
    }


def _groups(results: Sequence[RowResult], rows: Sequence[int]) -> Iterator[tuple[int, list[RowResult]]]:
    """Yield each row with its results."""
    for row, group in groupby(zip(rows, results, strict=True), key=lambda each: each[0]):
        yield row, [result for _, result in group]


def _row(row: int, results: Sequence[RowResult]) -> RowOfSamples:
    return RowOfSamples(
        datasource_item_id=row,
        samples=len(results),
        mean_score=fmean(result.score for result in results),
        passed=sum(result.passed for result in results),
    )


def _varies(results: Sequence[RowResult]) -> bool:
    """Return whether a sample is better than another one, as a job's advantages tell it."""
    return min(result.score for result in results) < max(result.score for result in results)


def _histogram(criterion: Criterion, means: Sequence[float]) -> Histogram:
    bounds = bounds_of(criterion)
    counts, edges = np.histogram(means, BINS, bounds if bounds == BETWEEN_0_AND_1 else None)
    return Histogram(low=float(edges[0]), high=float(edges[-1]), counts=counts.tolist())


def _verdict(rows: int, varied: int, never: int | None, always: int | None) -> SamplesVerdict:
    if varied >= LEAST_VARIED * rows:
        return "learnable"
    if never is None or always is None:
        return "no_variance"
    return "too_hard" if never >= always else "too_easy"


def _advice(verdict: SamplesVerdict, rows: int, varied: int, never: int | None, always: int | None) -> str:
    seen = f"The samples differ in their scores in {varied} of {rows} rows."
    match verdict:
        case "learnable":
            return f"{seen} A job can learn from these rows."
        case "too_hard":
            return f"{seen} The model never succeeds in {never} rows: {IF_TOO_HARD}."
        case "too_easy":
            return f"{seen} The model always succeeds in {always} rows: {IF_TOO_EASY}."
    return f"{seen} If the model never succeeds, {IF_TOO_HARD}. If it always succeeds, {IF_TOO_EASY}."
