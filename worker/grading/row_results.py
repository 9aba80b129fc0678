"""Makes the result of a row, by one criterion, of a sample's grade."""

from math import inf
from typing import Any

from core.evals.results import RowResult
from core.graders.schemas import LabelModelGrader, ModelGrader, StringCheckGrader
from worker.grading.graded import Graded


def result_of(grader: Any, found: Graded) -> RowResult:
    """Return the result by a criterion that is a grader. A fault of `found` must be the sample's own."""
    sample: dict[str, Any] | None = found.samples
    if sample is not None and isinstance(grader, ModelGrader):
        sample = sample[grader.name]
    return RowResult(
        name=grader.name,
        type=grader.type,
        score=found.score,
        passed=found.fault is None and found.score >= _threshold(grader),
        sample=sample,
    )


def _threshold(grader: Any) -> float:
    """Return the lowest score with which a row passes."""
    if isinstance(grader, StringCheckGrader | LabelModelGrader):
        return 1.0
    threshold: float | None = getattr(grader, "pass_threshold", None)
    return -inf if threshold is None else threshold
