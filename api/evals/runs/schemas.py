"""Runs of evals as a client sends and reads them: OpenAI's fields, and Tunery's own beside them."""

from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, Field

from api.evals.schemas import EvalName
from api.schemas import UnixSeconds
from api.work.schemas import Row, TaskDeleted, TaskObject
from core.evals.data_sources import DataSource
from core.evals.results import CriterionResult, ModelUsage, RunReport
from core.evals.run_request import RunRequest
from core.options import Metadata, Options
from core.tables import TASK_STATUSES

RunStatus = Literal["queued", "in_progress", "completed", "failed", "canceled"]
STATUSES: dict[str, RunStatus] = dict(zip(TASK_STATUSES, get_args(RunStatus), strict=True))
TASK_STATUS: dict[RunStatus, str] = {shown: status for status, shown in STATUSES.items()}


class CreateRun(Options):
    """A model, and the rows on which it is judged."""

    data_source: DataSource
    name: Annotated[EvalName | None, Field(description="Default: the model's name")] = None
    metadata: Metadata | None = None


class EvalError(BaseModel):
    """Why a run or a sample failed. OpenAI's types require the object, so it is empty if nothing failed."""

    code: str = ""
    message: str = ""


class ResultCounts(BaseModel):
    """The numbers of rows, each as often as it was sampled.

    Answers that could not be judged count neither as passed nor as failed.
    """

    total: int = 0
    passed: int = 0
    failed: int = 0
    errored: int = 0


class CriterionCounts(BaseModel):
    testing_criteria: Annotated[str, Field(description="The criterion's name")]
    passed: int
    failed: int


class EvalRunObject(TaskObject):
    """A run of an eval: one model, judged on the rows of one data source.

    `criteria` has the result of each criterion with its interval, once the run has completed. `model` is
    empty if the rows have their samples already. `report_url` is the run's page in the dashboard, or empty if
    the operator has not set the dashboard's address.
    """

    object: Literal["eval.run"] = "eval.run"
    eval_id: str
    name: str
    model: str
    status: RunStatus  # type: ignore[assignment] # OpenAI has its own words
    data_source: DataSource
    metadata: Metadata | None
    error: EvalError  # type: ignore[assignment] # OpenAI's types require the object
    report_url: str = ""
    result_counts: ResultCounts
    per_testing_criteria_results: list[CriterionCounts]
    per_model_usage: list[ModelUsage]
    criteria: list[CriterionResult]
    expires_at: Annotated[UnixSeconds | None, Field(description="When the run is deleted, with its items")]

    @classmethod
    def own_fields(cls, row: Row) -> dict[str, Any]:
        task, dashboard = row.task, row.dashboard
        asked = RunRequest.model_validate(task.request)
        report = RunReport.model_validate(task.report) if task.report else None
        criteria = report.criteria if report else []
        error = task.error or {}
        counts = report.model_dump(include=set(ResultCounts.model_fields)) if report else {}
        return {
            "eval_id": task.eval_id,
            "name": asked.name,
            "model": asked.model or "",
            "status": STATUSES[task.status],
            "data_source": asked.data_source,
            "metadata": asked.metadata,
            "error": EvalError(code=error.get("code", ""), message=error.get("message", "")),
            "report_url": f"{dashboard}/evals/{task.eval_id}?tuned={task.id}" if dashboard else "",
            "result_counts": ResultCounts(**counts),
            "per_testing_criteria_results": [
                CriterionCounts(testing_criteria=found.name, passed=found.passed, failed=found.failed)
                for found in criteria
            ],
            "per_model_usage": report.usage if report else [],
            "criteria": criteria,
        }


class EvalRunDeleted(TaskDeleted):
    object: Literal["eval.run.deleted"] = "eval.run.deleted"
    deleted: Literal[True] = True
    run_id: str

    @classmethod
    def of(cls, task_id: str) -> Self:
        return cls(run_id=task_id)
