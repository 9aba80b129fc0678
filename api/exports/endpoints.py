"""/v1/adapters/{id}/exports: other forms of an adapter, for runtimes that do not load PEFT's files."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from api.admission.auth import CurrentCaller
from api.admission.store_threads import waits_for_store
from api.dependencies import AppSettings, Outgoing, ReadingSessions, ReadingThreads, Store, Transaction
from api.exports import service
from api.exports.schemas import ExportDeleted, ExportObject
from api.http import downloads
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, found_by, repeatable
from api.http.paging import LIMIT, After
from api.http.strict_json import StrictJsonRoute
from api.schemas import Page
from core.access import audit
from core.access.idempotency import once
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
from core.exports.requests import EXPORT_REQUEST, ExportRequest
from core.work import client as tasks

MAX_LIMIT = 1000

router = APIRouter(
    prefix="/v1/adapters/{adapter_id}/exports",
    tags=["Exports"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, NotFound, Unavailable),
)


@router.post("", responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded, RateLimited))
def create_export(
    session: Transaction,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    egress: Outgoing,
    adapter_id: str,
    body: ExportRequest,
) -> ExportObject:
    """Start an export of an adapter. Read the export until its `status` is `succeeded` or `failed`.

    The adapter may also be one of a model that is shared with the project. With a `destination`, the files
    are pushed there too, once they can be downloaded. If that fails, the export fails, and its files stay.
    """

    def create() -> dict[str, Any]:
        most_open = settings.project_open_tasks
        task = service.create(session, caller.project_id, adapter_id, body, caller.quotas, most_open, egress)
        details: dict[str, Any] = {"adapter": adapter_id}
        if body.destination is not None:
            details["destination"] = body.destination.model_dump(exclude={"secret"}, exclude_none=True)
        audit.record(session, caller, "export.created", task.id, details)
        return ExportObject.of(task).model_dump(mode="json")

    asked = EXPORT_REQUEST.dump_json(body).decode()
    is_there = found_by(service.get, caller.project_id, adapter_id)
    return ExportObject.model_validate(once(session, attempt, asked, create, is_there))


@router.get("", responses=declared(InvalidRequest))
def list_exports(
    session: Transaction,
    caller: CurrentCaller,
    adapter_id: str,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT, description=LIMIT)] = 20,
    after: After = None,
) -> Page[ExportObject]:
    """List the project's exports of an adapter, newest first.

    A page may have fewer than `limit` items although more follow, if they are large.
    """
    rows, has_more = service.list_page(session, caller.project_id, adapter_id, after, limit)
    return Page.of([ExportObject.of(task) for task in rows], has_more)


@router.get("/{export_id}")
def retrieve_export(
    session: Transaction, caller: CurrentCaller, adapter_id: str, export_id: str
) -> ExportObject:
    """Return an export, with its progress or its result."""
    return ExportObject.of(service.get(session, caller.project_id, adapter_id, export_id))


@router.post("/{export_id}/cancel", responses=declared(Conflict, InvalidRequest))
def cancel_export(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, adapter_id: str, export_id: str
) -> ExportObject:
    """Cancel an export that has not ended."""

    def cancel() -> ExportObject:
        task = service.get(session, caller.project_id, adapter_id, export_id)
        tasks.cancel(session, task)
        audit.record(session, caller, "export.cancelled", task.id)
        return ExportObject.of(task)

    return repeatable(session, attempt, ExportObject, cancel, done="task_ended")


@router.delete("/{export_id}", responses=declared(Conflict, InvalidRequest))
def delete_export(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, adapter_id: str, export_id: str
) -> ExportDeleted:
    """Delete an export that has ended, and its files. The adapter stays."""

    def delete() -> ExportDeleted:
        task = service.get(session, caller.project_id, adapter_id, export_id)
        tasks.delete(session, task)
        audit.record(session, caller, "export.deleted", task.id)
        return ExportDeleted(id=task.id)

    return repeatable(session, attempt, ExportDeleted, delete)


@router.get(
    "/{export_id}/files/{name}",
    response_class=StreamingResponse,
    responses=downloads.documented(downloads.BYTES),
)
@waits_for_store
def download_export_file(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,
    adapter_id: str,
    export_id: str,
    name: str,
) -> StreamingResponse:
    """Download one file of an export."""
    with sessions() as session:
        task = service.get(session, caller.project_id, adapter_id, export_id)
    size, chunks = service.read_file(store, task, name)
    return downloads.download(chunks, name, threads, size=size)


@router.get(
    "/{export_id}/content",
    response_class=StreamingResponse,
    responses=declared(Conflict) | downloads.documented(downloads.ZIP),
)
@waits_for_store
def download_export(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,
    adapter_id: str,
    export_id: str,
) -> StreamingResponse:
    """Download all files of an export as a zip file."""
    with sessions() as session:
        task = service.get(session, caller.project_id, adapter_id, export_id)
    chunks = service.read_all(store, task)
    return downloads.download(chunks, f"{export_id}.zip", threads, media_type=downloads.ZIP)
