"""Conversions of files as a client reads them."""

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
from core.datasets.formats.conversion import ConversionReport, ConvertRequest
from core.tables import Task


class ConversionSummary(Identified):
    """A conversion of a file without its report, as lists show it."""

    object: Literal["file.conversion"] = "file.conversion"
    created_at: UnixSeconds
    file_id: str
    request: ConvertRequest
    status: TaskStatus
    progress: TaskProgress
    error: Annotated[TaskError | None, Field(description="What is wrong with the file, with its first lines")]
    converted_file: Annotated[str | None, Field(description="The new file; null until it exists")]
    started_at: UnixSeconds | None
    finished_at: UnixSeconds | None
    expires_at: Annotated[
        UnixSeconds | None, Field(description="When the conversion is deleted. Its file stays")
    ]

    @classmethod
    def summary(cls, task: Task, **more: Any) -> Self:
        """Return the conversion that a task does."""
        return cls(
            **task_fields(task),
            file_id=task.file_id or "",
            request=ConvertRequest.model_validate(task.request),
            converted_file=task.made_file_id,
            expires_at=seconds_or_none(task.expires_at),
            **more,
        )


class ConversionObject(ConversionSummary):
    """A conversion of a file, and the new file once it has succeeded."""

    report: ConversionReport | None

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the conversion that a task does, with its report."""
        report = ConversionReport.model_validate(task.report) if task.report else None
        return cls.summary(task, report=report)
