"""/v1/files/{id}/convert and /v1/files/{id}/conversions: make a dataset of a file of another format."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.orm import Session

from api.dependencies import Transaction
from api.file_tasks.parent import ERRORS_OF_CREATION, FILE, file_router
from api.files import service as files
from api.files.intake import clean_filename
from api.schemas import UnixSeconds
from api.work.creation import Context, NewTask, RequestContext, create_task
from api.work.endpoints import add_task_routes
from api.work.resource import Resource
from api.work.schemas import Row, TaskError, TaskObject
from core.access.quotas import check_store
from core.datasets.formats.conversion import ConversionReport, ConvertRequest
from core.tables import Task
from core.work.kinds import CONVERSION

NOTHING_MORE = ConvertRequest()


class ConversionSummary(TaskObject):
    """A conversion of a file without its report, as lists show it."""

    object: Literal["file.conversion"] = "file.conversion"
    file_id: str
    request: ConvertRequest
    error: Annotated[TaskError | None, Field(description="What is wrong with the file, with its first lines")]
    converted_file: Annotated[str | None, Field(description="The new file; null until it exists")]
    expires_at: Annotated[
        UnixSeconds | None, Field(description="When the conversion is deleted. Its file stays")
    ]

    @classmethod
    def own_fields(cls, row: Row) -> dict[str, Any]:
        task = row.task
        request = ConvertRequest.model_validate(task.request)
        return {"file_id": task.file_id, "request": request, "converted_file": task.made_file_id}


class ConversionObject(ConversionSummary):
    """A conversion of a file, and the new file once it has succeeded."""

    report: ConversionReport | None


CONVERSIONS = Resource(
    CONVERSION,
    name="conversion",
    called="conversion",
    id_name="conversion_id",
    view=ConversionObject,
    summary=ConversionSummary,
    sizes=(Task.request, Task.error),
    parent=FILE,
)
router: APIRouter = file_router()


@router.post("/convert", responses=ERRORS_OF_CREATION)
def create_conversion(
    session: Transaction, context: Context, file_id: str, body: ConvertRequest = NOTHING_MORE
) -> ConversionObject:
    """Start to convert a file into a dataset. Read the conversion until it has `succeeded` or `failed`.

    The format is recognised by the file's content. Upload a file of another format with the purpose
    `user_data`. The result is a new file; its `lineage` names the old one.
    """
    check = partial(_check, session, context, file_id, body)
    return create_task(session, context, CONVERSIONS, body.model_dump_json(), check, file_id)


add_task_routes(router, CONVERSIONS, "/conversions")


def _check(session: Session, context: RequestContext, file_id: str, asked: ConvertRequest) -> NewTask:
    """Return the conversion that may be created.

    Raises NotFound for the file, and QuotaExceeded if the new file would not fit.
    """
    caller = context.caller
    file = files.held(session, caller.project_id, file_id)
    check_store(session, caller.project_id, caller.quotas.stored_bytes, announced=file.bytes)
    if asked.filename is not None:
        asked = asked.model_copy(update={"filename": clean_filename(asked.filename)})
    return NewTask(asked, {"file": file_id}, {"file_id": file_id})
