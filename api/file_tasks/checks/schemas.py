"""Checks of files as a client reads them."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from api.schemas import (
    Identified,
    TaskError,
    TaskProgress,
    TaskStatus,
    UnixSeconds,
    seconds_or_none,
    task_fields,
)
from core.datasets.checks.report import CodeCount, ContentReport
from core.datasets.checks.requests import CheckRequest
from core.tables import Task


class CheckSummary(Identified):
    """A check of a file without its report, as lists show it."""

    object: Literal["file.check"] = "file.check"
    created_at: UnixSeconds
    file_id: str
    request: Annotated[CheckRequest, Field(description="What was asked for, with the resolved `max_length`")]
    status: TaskStatus
    progress: TaskProgress
    error: TaskError | None
    counts: Annotated[
        list[CodeCount] | None, Field(description="The findings of each code. Null until it has succeeded")
    ]
    mended_file: Annotated[str | None, Field(description="The file without the rows that harm")]
    started_at: UnixSeconds | None
    finished_at: UnixSeconds | None
    expires_at: Annotated[UnixSeconds | None, Field(description="When the check is deleted")]

    @classmethod
    def summary(cls, task: Task, counts: Any, **more: Any) -> Self:
        """Return the check that a task does, with the counts of its report."""
        shown = {
            **task_fields(task),
            "file_id": task.file_id,
            "request": CheckRequest.model_validate(task.request),
            "counts": counts,
            "mended_file": task.made_file_id,
            "expires_at": seconds_or_none(task.expires_at),
            **more,
        }
        return cls.model_validate(shown)


class CheckObject(CheckSummary):
    """A check of a file, and its report once it has succeeded.

    `report.findings` has the first 50 findings of each code, and `report.counts` how many there are.
    """

    report: ContentReport | None

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the check that a task does."""
        counts = task.report["counts"] if task.report else None
        return cls.summary(task, counts, report=task.report)
