"""/v1/files/{id}/check and /v1/files/{id}/checks: what is wrong with the rows of a file."""

from typing import Annotated, Any

from fastapi import APIRouter, Query

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, ModelCatalog, Transaction
from api.file_tasks.checks import service
from api.file_tasks.checks.schemas import CheckObject, CheckSummary
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, found_by, repeatable
from api.http.paging import LIMIT, After
from api.http.strict_json import StrictJsonRoute
from api.schemas import Page
from core.access import audit
from core.access.idempotency import once
from core.datasets.checks.requests import CheckRequest
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
NOTHING_MORE = CheckRequest()

router = APIRouter(
    prefix="/v1/files/{file_id}",
    tags=["Files"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, NotFound, Unavailable),
)


@router.post("/check", responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded, RateLimited))
def create_check(
    session: Transaction,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    catalog: ModelCatalog,
    file_id: str,
    body: CheckRequest = NOTHING_MORE,
) -> CheckObject:
    """Start a check of a file's rows. Read the check until its `status` is `succeeded` or `failed`.

    It finds rows that repeat or contradict others or that the validation file has too, rows that are cut or
    teach nothing, secrets, personal data and more.
    """

    def create() -> dict[str, Any]:
        most_open = settings.project_open_tasks
        task = service.create(session, caller.project_id, file_id, body, caller.quotas, catalog, most_open)
        audit.record(session, caller, "check.created", task.id, {"file": file_id})
        return CheckObject.of(task).model_dump(mode="json")

    is_there = found_by(service.get, caller.project_id, file_id)
    return CheckObject.model_validate(once(session, attempt, body.model_dump_json(), create, is_there))


@router.get("/checks", responses=declared(InvalidRequest))
def list_checks(
    session: Transaction,
    caller: CurrentCaller,
    file_id: str,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT, description=LIMIT)] = 20,
    after: After = None,
) -> Page[CheckSummary]:
    """List the checks of a file, newest first, without their reports.

    A page may have fewer than `limit` items although more follow, if they are large.
    """
    rows, has_more = service.list_page(session, caller.project_id, file_id, after, limit)
    return Page.of([CheckSummary.summary(task, counts) for task, counts in rows], has_more)


@router.get("/checks/{check_id}")
def retrieve_check(session: Transaction, caller: CurrentCaller, file_id: str, check_id: str) -> CheckObject:
    """Return a check of a file, with its progress or its report."""
    return CheckObject.of(service.get(session, caller.project_id, file_id, check_id))


@router.post("/checks/{check_id}/cancel", responses=declared(Conflict, InvalidRequest))
def cancel_check(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, file_id: str, check_id: str
) -> CheckObject:
    """Cancel a check that has not ended."""

    def cancel() -> CheckObject:
        task = service.get(session, caller.project_id, file_id, check_id)
        tasks.cancel(session, task)
        audit.record(session, caller, "check.cancelled", task.id)
        return CheckObject.of(task)

    return repeatable(session, attempt, CheckObject, cancel, done="task_ended")
