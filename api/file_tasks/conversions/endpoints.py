"""/v1/files/{id}/convert and /v1/files/{id}/conversions: make a dataset of a file of another format."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, Transaction
from api.file_tasks.conversions import service
from api.file_tasks.conversions.schemas import ConversionObject, ConversionSummary
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, found_by, repeatable
from api.http.paging import LIMIT, After
from api.http.strict_json import StrictJsonRoute
from api.schemas import Page
from core.access import audit
from core.access.idempotency import once
from core.datasets.formats.conversion import ConvertRequest
from core.errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    Unavailable,
)
from core.work import client as tasks

MAX_LIMIT = 1000
NOTHING_MORE = ConvertRequest()

router = APIRouter(
    prefix="/v1/files/{file_id}",
    tags=["Files"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, NotFound, Unavailable),
)


@router.post("/convert", responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded, RateLimited))
def create_conversion(
    session: Transaction,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    file_id: str,
    body: ConvertRequest = NOTHING_MORE,
) -> ConversionObject:
    """Start to convert a file into a dataset. Read the conversion until it has `succeeded` or `failed`.

    The format is recognised by the file's content. Upload a file of another format with the purpose
    `user_data`. The result is a new file; its `lineage` names the old one.
    """

    def create() -> dict[str, Any]:
        most_open = settings.project_open_tasks
        task = service.create(session, caller.project_id, file_id, body, caller.quotas, most_open)
        audit.record(session, caller, "conversion.created", task.id, {"file": file_id})
        return ConversionObject.of(task).model_dump(mode="json")

    is_there = found_by(service.get, caller.project_id, file_id)
    return ConversionObject.model_validate(once(session, attempt, body.model_dump_json(), create, is_there))


@router.get("/conversions", responses=declared(InvalidRequest))
def list_conversions(
    session: Transaction,
    caller: CurrentCaller,
    file_id: str,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT, description=LIMIT)] = 20,
    after: After = None,
) -> Page[ConversionSummary]:
    """List the conversions of a file, newest first, without their reports.

    A page may have fewer than `limit` items although more follow, if they are large.
    """
    rows, has_more = service.list_page(session, caller.project_id, file_id, after, limit)
    return Page.of([ConversionSummary.summary(task) for task in rows], has_more)


@router.get("/conversions/{conversion_id}")
def retrieve_conversion(
    session: Transaction, caller: CurrentCaller, file_id: str, conversion_id: str
) -> ConversionObject:
    """Return a conversion of a file, with its progress or its result."""
    return ConversionObject.of(service.get(session, caller.project_id, file_id, conversion_id))


@router.post("/conversions/{conversion_id}/cancel", responses=declared(Conflict, InvalidRequest))
def cancel_conversion(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, file_id: str, conversion_id: str
) -> ConversionObject:
    """Cancel a conversion that has not ended."""

    def cancel() -> ConversionObject:
        task = service.get(session, caller.project_id, file_id, conversion_id)
        tasks.cancel(session, task)
        audit.record(session, caller, "conversion.cancelled", task.id)
        return ConversionObject.of(task)

    return repeatable(session, attempt, ConversionObject, cancel, done="task_ended")
