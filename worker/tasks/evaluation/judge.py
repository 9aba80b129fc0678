"""Judges one row by all criteria of an eval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.evals.criteria import (
    OF_THE_ROWS_ANSWER,
    Criterion,
    ExactMatch,
    FieldF1,
    LabelF1,
    Loss,
    TokenAccuracy,
)
from core.evals.results import RowResult
from core.graders.sample import Sample
from worker.grading.row_failed import RowFailed
from worker.grading.row_results import result_of
from worker.grading.sample_grader import SampleGrader
from worker.grading.usage import UsageSums
from worker.tasks.evaluation.likelihood import Likelihood, LikelihoodMeter, judge_likelihood
from worker.tasks.evaluation.prompts import NO_SAMPLE
from worker.tasks.evaluation.rows.items import Item
from worker.tasks.evaluation.samples import Sampler, written
from worker.tasks.evaluation.texts import judge_text


@dataclass
class JudgedRow:
    """A row while it is judged, and at the end what came of it.

    `written` is what graders get of its sample.
    """

    index: int
    item: Item
    usage: UsageSums
    sample: dict[str, Any] | None = None
    written: Sample = NO_SAMPLE
    likelihood: Likelihood | None = None


class Judge:
    """The criteria of an eval with what they need. `sampler` is None if the rows have their samples."""

    def __init__(
        self,
        criteria: Sequence[Criterion],
        sampler: Sampler | None,
        meter: LikelihoodMeter | None,
        grader: SampleGrader,
    ) -> None:
        self.criteria = criteria
        self._sampler, self._meter, self._grader = sampler, meter, grader
        self._needs_sample = any(criterion.type not in OF_THE_ROWS_ANSWER for criterion in criteria)

    async def judge(self, row: JudgedRow) -> list[RowResult]:
        """Return the results of a row, one for each criterion. Raises RowFailed."""
        row.sample = row.item.sample
        if self._needs_sample:
            if self._sampler is not None:
                row.sample = await self._sampler.sample(row.index, row.item, row.usage)
            row.written = written(row.sample or {})
        return [await self._result(criterion, row) for criterion in self.criteria]

    async def _result(self, criterion: Any, row: JudgedRow) -> RowResult:
        match criterion:
            case Loss() | TokenAccuracy():
                return judge_likelihood(criterion, await self._likelihood(row))
            case ExactMatch() | LabelF1() | FieldF1():
                return judge_text(criterion, row.item.item, row.written)
        return await self._graded(criterion, row)

    async def _likelihood(self, row: JudgedRow) -> Likelihood:
        if self._meter is None:
            raise RowFailed("no_model", "Loss and token accuracy need a model: the run asks none.")
        row.likelihood = row.likelihood or await self._meter.measure(row.item, row.usage)
        return row.likelihood

    async def _graded(self, grader: Any, row: JudgedRow) -> RowResult:
        found = await self._grader.judge(grader, row.index, row.item.item, row.written, row.usage)
        return result_of(grader, found)
