"""/v1/files/{id}/check and /v1/files/{id}/checks: what is wrong with the rows of a file."""

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy.orm import Session

from api.dependencies import Transaction
from api.file_tasks.parent import ERRORS_OF_CREATION, FILE, file_router
from api.files import queries as file_queries
from api.files import service as files
from api.files.service import names_no_file
from api.models.base_models import require_base, row_limit
from api.schemas import UnixSeconds
from api.work.creation import Context, NewTask, RequestContext, create_task
from api.work.endpoints import add_task_routes
from api.work.resource import Resource
from api.work.schemas import Row, TaskObject
from core.access.quotas import check_store
from core.catalog import Catalog
from core.datasets.checks.report import CodeCount, ContentReport
from core.datasets.checks.requests import CheckRequest
from core.errors import InvalidRequest
from core.tables import Task
from core.work.kinds import CHECK

NOTHING_MORE = CheckRequest()


class CheckSummary(TaskObject):
    """A check of a file without its report, as lists show it."""

    object: Literal["file.check"] = "file.check"
    file_id: str
    request: Annotated[CheckRequest, Field(description="What was asked for, with the resolved `max_length`")]
    counts: Annotated[
        list[CodeCount] | None, Field(description="The findings of each code. Null until it has succeeded")
    ]
    mended_file: Annotated[str | None, Field(description="The file without the rows that harm")]
    expires_at: Annotated[UnixSeconds | None, Field(description="When the check is deleted")]

    @classmethod
    def own_fields(cls, row: Row) -> dict[str, Any]:
        task, (counts,) = row.task, row.columns
        request = CheckRequest.model_validate(task.request)
        return {
            "file_id": task.file_id,
            "request": request,
            "counts": counts,
            "mended_file": task.made_file_id,
        }


class CheckObject(CheckSummary):
    """A check of a file, and its report once it has succeeded.

    `report.findings` has the first 50 findings of each code, and `report.counts` how many there are.
    """

    report: ContentReport | None


CHECKS = Resource(
    CHECK,
    name="check",
    called="check",
    id_name="check_id",
    view=CheckObject,
    summary=CheckSummary,
    sizes=(Task.request, Task.error),
    columns=(Task.report["counts"],),
    parent=FILE,
)
router: APIRouter = file_router()


@router.post("/check", responses=ERRORS_OF_CREATION)
def create_check(
    session: Transaction, context: Context, file_id: str, body: CheckRequest = NOTHING_MORE
) -> CheckObject:
    """Start a check of a file's rows. Read the check until its `status` is `succeeded` or `failed`.

    It finds rows that repeat or contradict others or that the validation file has too, rows that are cut or
    teach nothing, secrets, personal data and more.
    """
    check = partial(_check, session, context, file_id, body)
    return create_task(session, context, CHECKS, body.model_dump_json(), check, file_id)


add_task_routes(router, CHECKS, "/checks")


def _check(session: Session, context: RequestContext, file_id: str, asked: CheckRequest) -> NewTask:
    """Return the check that may be created.

    Raises NotFound for the file, InvalidRequest for what the request names, and QuotaExceeded if a mended
    copy would not fit.
    """
    caller = context.caller
    file = files.held(session, caller.project_id, file_id)
    if asked.validation_file == file_id:
        raise InvalidRequest(
            "A file has all of its own rows. Name another file as `validation_file`, or none.",
            code="same_file",
            param="validation_file",
        )
    if asked.leave_out and not asked.mend:
        raise InvalidRequest(
            "Lines are left out of a mended copy. Set `mend` to true too.",
            code="invalid_value",
            param="leave_out",
        )
    resolved = asked.model_copy(update={"max_length": _max_length(asked, context.catalog)})
    if asked.validation_file is not None:
        _require_validation_file(session, caller.project_id, asked.validation_file)
    if asked.mend:
        check_store(session, caller.project_id, caller.quotas.stored_bytes, announced=file.bytes)
    return NewTask(resolved, {"file": file_id}, {"file_id": file_id})


def _max_length(asked: CheckRequest, catalog: Catalog) -> int | None:
    if asked.model is None:
        return asked.max_length
    return row_limit(require_base(catalog, asked.model), asked.max_length, "max_length")


def _require_validation_file(session: Session, project_id: str, file_id: str) -> None:
    if file_queries.find_for_job(session, project_id, file_id) is None:
        raise names_no_file(file_id, "validation_file")
