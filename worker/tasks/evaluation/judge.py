"""Judges one row by all criteria of an eval."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidRequest, Unavailable
from core.evals.criteria import (
    OF_THE_ROWS_ANSWER,
    Criterion,
    ExactMatch,
    FieldF1,
    LabelF1,
    Loss,
    Multi,
    TokenAccuracy,
)
from core.evals.results import RowResult
from core.graders.check import DEFAULT_SANDBOX, graders_of
from core.graders.processes import GraderProcesses
from core.graders.python.sandbox import Sandbox
from core.graders.schemas import LabelModelGrader, ModelGrader, ScoreModelGrader, StringCheckGrader
from core.graders.templates import Sample
from worker.tasks.evaluation.likelihood import Likelihood, LikelihoodMeter, judge_likelihood
from worker.tasks.evaluation.model_graders import ModelGraders
from worker.tasks.evaluation.row_failed import RowFailed
from worker.tasks.evaluation.rows.items import Item
from worker.tasks.evaluation.samples import Sampler, output_text
from worker.tasks.evaluation.texts import judge_text
from worker.tasks.evaluation.usage import UsageSums

FAULTS = {
    "invalid_variable_error": "The row has no value for a variable that the grader '{}' names.",
    "other_error": "The formula of the grader '{}' has no value for the row's scores.",
    "python_grader_runtime_error": "The code of the grader '{}' failed: {}.",
    "python_grader_server_error": "The sandbox for the code of the grader '{}' failed: {}.",
}


@dataclass
class JudgedRow:
    """A row while it is judged, and at the end what came of it. `text` is what the model wrote."""

    index: int
    item: Item
    usage: UsageSums
    sample: dict[str, Any] | None = None
    text: str = ""
    likelihood: Likelihood | None = None


class Judge:
    """The criteria of an eval with what they need. `sampler` is None if the rows have their samples."""

    def __init__(
        self,
        criteria: Sequence[Criterion],
        sampler: Sampler | None,
        meter: LikelihoodMeter | None,
        graders: ModelGraders,
        sandbox: Sandbox = DEFAULT_SANDBOX,
    ) -> None:
        self.criteria = criteria
        self._sampler, self._meter, self._graders = sampler, meter, graders
        self._processes = GraderProcesses(sandbox)
        self._needs_sample = any(criterion.type not in OF_THE_ROWS_ANSWER for criterion in criteria)

    async def judge(self, row: JudgedRow) -> list[RowResult]:
        """Return the results of a row, one for each criterion. Raises RowFailed."""
        row.sample = row.item.sample
        if self._needs_sample:
            if self._sampler is not None:
                row.sample = await self._sampler.sample(row.index, row.item, row.usage)
            row.text = output_text(row.sample or {})
        return [await self._result(criterion, row) for criterion in self.criteria]

    async def _result(self, criterion: Any, row: JudgedRow) -> RowResult:
        match criterion:
            case Loss() | TokenAccuracy():
                return judge_likelihood(criterion, await self._likelihood(row))
            case ExactMatch() | LabelF1() | FieldF1():
                return judge_text(criterion, row.item.item, Sample(row.text))
            case LabelModelGrader() | ScoreModelGrader():
                found = await self._opinion(criterion, row)
                return RowResult(
                    name=criterion.name,
                    type=criterion.type,
                    score=found.score,
                    passed=found.passed,
                    sample=found.sample,
                )
        return await self._graded(criterion, row)

    async def _likelihood(self, row: JudgedRow) -> Likelihood:
        if self._meter is None:
            raise RowFailed("no_model", "Loss and token accuracy need a model: the run asks none.")
        row.likelihood = row.likelihood or await self._meter.measure(row.item, row.usage)
        return row.likelihood

    async def _opinion(self, grader: Any, row: JudgedRow) -> Any:
        return await self._graders.judge(grader, row.index, row.item.item, Sample(row.text), row.usage)

    async def _graded(self, grader: Any, row: JudgedRow) -> RowResult:
        """Return the result of a grader of texts, or of several graders, which runs in another process."""
        graders = graders_of(grader) if isinstance(grader, Multi) else {}
        asked = {
            name: await self._opinion(each, row)
            for name, each in graders.items()
            if isinstance(each, ModelGrader)
        }
        known = {name: opinion.score for name, opinion in asked.items()}
        try:
            grade = await self._processes.grade(grader, row.item.item, row.text, known)
        except (InvalidRequest, Unavailable) as error:
            raise RowFailed(error.code or "not_graded", error.message) from error
        if grade.fault in FAULTS:
            raise RowFailed(grade.fault, FAULTS[grade.fault].format(grader.name, grade.details))
        threshold = 1.0 if isinstance(grader, StringCheckGrader) else grader.pass_threshold
        passed = grade.fault is None and (threshold is None or grade.reward >= threshold)
        return RowResult(
            name=grader.name,
            type=grader.type,
            score=grade.reward,
            passed=passed,
            sample={name: opinion.sample for name, opinion in asked.items()} or None,
        )
