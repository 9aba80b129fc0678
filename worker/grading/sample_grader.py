"""Grades one sample by any grader."""

from typing import Any

from core.errors import InvalidRequest, Unavailable
from core.graders.check import graders_of
from core.graders.processes import GraderProcesses
from core.graders.sample import Sample
from core.graders.schemas import EndpointGrader, LabelModelGrader, ModelGrader, ScoreModelGrader
from worker.grading.graded import PARSE_FAULT, Graded
from worker.grading.model_graders import ModelGraders, Opinion
from worker.grading.project_endpoints import ProjectEndpoints
from worker.grading.row_failed import RowFailed
from worker.grading.usage import UsageSums

MESSAGES = {
    "invalid_variable_error": "The row has no value for a variable that the grader '{}' names.",
    "other_error": "The formula of the grader '{}' has no value for the row's scores.",
    "python_grader_runtime_error": "The code of the grader '{}' failed: {}.",
    "python_grader_server_error": "The sandbox for the code of the grader '{}' failed: {}.",
    PARSE_FAULT: "The grader '{}' needs a sample that is JSON, and this one is not.",
}
UNKNOWN_FAULT = "The grader '{}' could not grade the sample."


class SampleGrader:
    """What graders need. `models` is None if none of them asks a model. Only the event loop may call."""

    def __init__(
        self, processes: GraderProcesses, endpoints: ProjectEndpoints, models: ModelGraders | None
    ) -> None:
        self._processes, self._endpoints, self._models = processes, endpoints, models

    async def grade(
        self, grader: Any, index: int, item: dict[str, Any], sample: Sample, usage: UsageSums
    ) -> Graded:
        """Return the grade of a sample, also if the grader fails.

        `index` is the number of the sample, from which the seeds of models follow. `usage` counts their
        tokens. Raises JobError and OutsideFault if no sample could be graded: see `Asking.ask`.
        """
        try:
            return await self.judge(grader, index, item, sample, usage)
        except RowFailed as error:
            return Graded(0.0, error.code, error.message)

    async def judge(
        self, grader: Any, index: int, item: dict[str, Any], sample: Sample, usage: UsageSums
    ) -> Graded:
        """Return the grade of a sample, whose fault can only be the sample's own.

        Raises RowFailed if the grader fails, and what `grade` raises.
        """
        parts = graders_of(grader)
        opinions: dict[str, Opinion] = {}
        for name, part in parts.items():
            if isinstance(part, ModelGrader):
                opinions[name] = await self._opinion(part, index, item, sample, usage)
        samples = {name: opinion.sample for name, opinion in opinions.items()} or None
        known = {name: opinion.score for name, opinion in opinions.items()}
        asked = {name: part for name, part in parts.items() if isinstance(part, EndpointGrader)}
        known |= await self._endpoints.scores(asked, item, sample)
        if isinstance(grader, LabelModelGrader | ScoreModelGrader | EndpointGrader):
            return Graded(known[grader.name], samples=samples)
        try:
            grade = await self._processes.grade(grader, item, sample, known)
        except (InvalidRequest, Unavailable) as error:
            raise RowFailed(error.code or "not_graded", error.message) from error
        if grade.fault is None:
            return Graded(grade.reward, samples=samples)
        message = MESSAGES.get(grade.fault, UNKNOWN_FAULT).format(grader.name, grade.details)
        if grade.fault != PARSE_FAULT:
            raise RowFailed(grade.fault, message)
        return Graded(0.0, PARSE_FAULT, message, samples)

    async def _opinion(
        self, grader: ModelGrader, index: int, item: dict[str, Any], sample: Sample, usage: UsageSums
    ) -> Opinion:
        assert self._models is not None, "whoever creates this knows whether a grader asks a model"
        return await self._models.judge(grader, index, item, sample, usage)
