"""Exports as a client reads them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.schemas import UnixSeconds
from api.work.schemas import Row, TaskDeleted, TaskObject
from core.exports.requests import EXPORT_REQUEST, ExportRequest


class ExportFile(BaseModel):
    name: str
    bytes: Annotated[int, Field(description="The size in bytes")]
    sha256: Annotated[str, Field(description="The SHA-256 of the content, in hexadecimal")]


class ExportObject(TaskObject):
    """An export of an adapter, and its files once they are made.

    `report` holds what was measured. For a LoRA: its `rank`, and the `relative_error` of a reduced rank,
    which is 0 for an exact export. For a merged model: how its next-token distributions differ from those of
    the base model with the adapter beside it, after merging in fp32 and after rounding to the saved type.
    `report.push` says where the files were pushed to, and `report.signature` which key has signed them.
    """

    object: Literal["adapter.export"] = "adapter.export"
    adapter_id: str
    request: Annotated[ExportRequest, Field(description="The format, its options, and the destination")]
    report: dict[str, Any] | None
    files: list[ExportFile]
    expires_at: Annotated[UnixSeconds | None, Field(description="When the export is deleted")]

    @classmethod
    def own_fields(cls, row: Row) -> dict[str, Any]:
        task = row.task
        return {
            "adapter_id": task.adapter_id,
            "request": EXPORT_REQUEST.validate_python(task.request),
            "files": task.files,
        }


class ExportDeleted(TaskDeleted):
    id: str
    object: Literal["adapter.export"] = "adapter.export"
    deleted: Literal[True] = True
