"""Exports as a client reads them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from api.schemas import (
    Identified,
    TaskError,
    TaskProgress,
    TaskStatus,
    UnixSeconds,
    seconds_or_none,
    task_fields,
)
from core.exports.requests import EXPORT_REQUEST, ExportRequest
from core.tables import Task


class ExportFile(BaseModel):
    name: str
    bytes: Annotated[int, Field(description="The size in bytes")]
    sha256: Annotated[str, Field(description="The SHA-256 of the content, in hexadecimal")]


class ExportObject(Identified):
    """An export of an adapter, and its files once they are made.

    `report` holds what was measured. For a LoRA: its `rank`, and the `relative_error` of a reduced rank,
    which is 0 for an exact export. For a merged model: how its next-token distributions differ from those of
    the base model with the adapter beside it, after merging in fp32 and after rounding to the saved type.
    `report.push` says where the files were pushed to, and `report.signature` which key has signed them.
    """

    object: Literal["adapter.export"] = "adapter.export"
    created_at: UnixSeconds
    adapter_id: str
    request: Annotated[ExportRequest, Field(description="The format, its options, and the destination")]
    status: TaskStatus
    progress: TaskProgress
    error: TaskError | None
    report: dict[str, Any] | None
    files: list[ExportFile]
    started_at: UnixSeconds | None
    finished_at: UnixSeconds | None
    expires_at: Annotated[UnixSeconds | None, Field(description="When the export is deleted")]

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the export that a task makes."""
        return cls(
            **task_fields(task),
            adapter_id=task.adapter_id or "",
            request=EXPORT_REQUEST.validate_python(task.request),
            report=task.report,
            files=[ExportFile(**file) for file in task.files],
            expires_at=seconds_or_none(task.expires_at),
        )


class ExportDeleted(BaseModel):
    id: str
    object: Literal["adapter.export"] = "adapter.export"
    deleted: Literal[True] = True
