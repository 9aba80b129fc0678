"""Runs of evals as a client sends and reads them: OpenAI's fields, and Tunery's own beside them."""

from typing import Annotated, Literal, Self, get_args

from pydantic import BaseModel, Field

from api.evals.schemas import EvalName
from api.schemas import Identified, TaskProgress, UnixSeconds, seconds_or_none, unix_seconds
from core.evals.data_sources import DataSource
from core.evals.results import CriterionResult, ModelUsage, RunReport
from core.evals.run_request import RunRequest
from core.options import Metadata, Options
from core.tables import TASK_STATUSES, Task

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
    """The numbers of rows. Rows with an error count neither as passed nor as failed."""

    total: int = 0
    passed: int = 0
    failed: int = 0
    errored: int = 0


class CriterionCounts(BaseModel):
    testing_criteria: Annotated[str, Field(description="The criterion's name")]
    passed: int
    failed: int


class EvalRunObject(Identified):
    """A run of an eval: one model, judged on the rows of one data source.

    `criteria` has the result of each criterion with its interval, once the run has completed. `model` is
    empty if the rows have their samples already. `report_url` is the run's page in the dashboard, or empty if
    the operator has not set the dashboard's address.
    """

    object: Literal["eval.run"] = "eval.run"
    created_at: UnixSeconds
    eval_id: str
    name: str
    model: str
    status: RunStatus
    data_source: DataSource
    metadata: Metadata | None
    error: EvalError
    report_url: str = ""
    result_counts: ResultCounts
    per_testing_criteria_results: list[CriterionCounts]
    per_model_usage: list[ModelUsage]
    criteria: list[CriterionResult]
    progress: TaskProgress
    started_at: UnixSeconds | None
    finished_at: UnixSeconds | None
    expires_at: Annotated[UnixSeconds | None, Field(description="When the run is deleted, with its items")]

    @classmethod
    def of(cls, task: Task, dashboard: str | None) -> Self:
        """Return the run that a task does. `dashboard` is the address of the dashboard, if it is known."""
        asked = RunRequest.model_validate(task.request)
        report = RunReport.model_validate(task.report) if task.report else None
        criteria = report.criteria if report else []
        return cls(
            id=task.id,
            created_at=unix_seconds(task.created_at),
            eval_id=task.eval_id or "",
            name=asked.name,
            model=asked.model or "",
            status=STATUSES[task.status],
            data_source=asked.data_source,
            metadata=asked.metadata,
            error=EvalError(code=task.error["code"], message=task.error["message"])
            if task.error
            else EvalError(),
            report_url=f"{dashboard}/evals/{task.eval_id}?tuned={task.id}" if dashboard else "",
            result_counts=ResultCounts(**report.model_dump(include=set(ResultCounts.model_fields)))
            if report
            else ResultCounts(),
            per_testing_criteria_results=[
                CriterionCounts(testing_criteria=found.name, passed=found.passed, failed=found.failed)
                for found in criteria
            ],
            per_model_usage=report.usage if report else [],
            criteria=criteria,
            progress=TaskProgress.of(task),
            started_at=seconds_or_none(task.started_at),
            finished_at=seconds_or_none(task.finished_at),
            expires_at=seconds_or_none(task.expires_at),
        )


class EvalRunDeleted(BaseModel):
    object: Literal["eval.run.deleted"] = "eval.run.deleted"
    deleted: Literal[True] = True
    run_id: str
