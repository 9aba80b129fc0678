"""/v1/files: upload, list, read, download and delete files."""

import json
from functools import partial
from typing import Annotated, Literal

from anyio import to_thread
from fastapi import Query, Request
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import StreamingResponse

from api.admission.auth import CurrentCaller
from api.admission.bodies import streams_body
from api.admission.callers import Caller
from api.admission.fair_share import ShortPermit, takes_no_permit
from api.admission.store_threads import waits_for_store
from api.dependencies import (
    AppSettings,
    Images,
    ReadingSessions,
    ReadingThreads,
    Sessions,
    Store,
    Transaction,
    UploadThreads,
)
from api.files import queries, result_text, service
from api.files.registration import kept_if_registered, register_file
from api.files.schemas import UPLOAD_BODY, FileDeleted, FileObject
from api.files.upload import Upload
from api.http import downloads
from api.http.errors import declared
from api.http.forms import receive
from api.http.idempotency import ThisAttempt, deleted
from api.http.paging import LIMIT, After
from api.http.routers import feature
from api.schemas import Page
from core.access.idempotency import RETRY_WINDOW, Attempt, has_used_key
from core.access.quotas import check_store
from core.errors import BeyondTheEnd, Conflict, InvalidRequest, NotFound, QuotaExceeded, TooLarge
from core.process.failpoints import reached

router = feature("/v1/files", "Files", route_class=APIRoute)


@router.post(
    "", openapi_extra=UPLOAD_BODY, responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded)
)
@takes_no_permit  # an upload mostly waits for its client
@streams_body
async def upload_file(
    request: Request,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    store: Store,
    sessions: Sessions,
    threads: UploadThreads,
    images: Images,
    permit: ShortPermit,
) -> FileObject:
    """Upload a file.

    The rows of a `fine-tune` file are checked while they arrive. If rows are wrong, the file is refused, and
    the error's `details` name the lines.
    """
    upload = Upload(
        request.headers,
        caller.project_id,
        store,
        max_file_bytes=settings.max_file_bytes,
        max_row_bytes=settings.max_row_bytes,
        images=images,
    )
    async with permit():
        await to_thread.run_sync(_open_if_it_can_fit, sessions, caller, attempt, upload, limiter=threads)
    async with kept_if_registered(sessions, upload.key, upload.id, threads) as registered:
        received = await receive(request.stream(), upload, threads)
        reached("upload.stored")
        asked = json.dumps([received.filename, received.purpose, received.sha256, received.lifetime])
        async with permit():
            file = await to_thread.run_sync(
                register_file, sessions, caller, attempt, asked, received, limiter=threads
            )
        registered(file.id)
    return file


def _open_if_it_can_fit(
    sessions: sessionmaker[Session], caller: Caller, attempt: Attempt, upload: Upload
) -> None:
    """Open the file before its bytes arrive.

    Raises QuotaExceeded if it cannot fit, unless an earlier attempt may have taken the room.
    """
    with sessions.begin() as session:
        try:
            check_store(session, caller.project_id, caller.quotas.stored_bytes, upload.announced_bytes)
        except QuotaExceeded:
            if not _may_be_stored(session, attempt, upload.announced_bytes):
                raise
        service.open_content(session, caller.project_id, upload.id)


def _may_be_stored(session: Session, attempt: Attempt, announced_bytes: int) -> bool:
    """Return whether an earlier attempt may have stored the file, as far as is known before its bytes."""
    if attempt.idempotency_key is not None:
        return has_used_key(session, attempt)
    if attempt.retry_count == 0:
        return False
    return queries.has_new_file(session, attempt.actor.project_id, RETRY_WINDOW, announced_bytes)


@router.get("", responses=declared(InvalidRequest))
def list_files(
    session: Transaction,
    caller: CurrentCaller,
    purpose: Annotated[str | None, Query(description="Lists the files with this purpose only")] = None,
    limit: Annotated[int, Query(ge=0, le=10_000, description=LIMIT)] = 10_000,
    order: Literal["asc", "desc"] = "desc",
    after: After = None,
) -> Page[FileObject]:
    """List the project's files, by default the newest first."""
    files, has_more = service.list_page(session, caller.project_id, purpose, after, limit, order)
    return Page.of([FileObject.of(file) for file in files], has_more)


@router.get("/{file_id}", responses=declared(NotFound))
def retrieve_file(session: Transaction, caller: CurrentCaller, file_id: str) -> FileObject:
    """Return the description of a file, without its content."""
    return FileObject.of(service.get(session, caller.project_id, file_id))


@router.get(
    "/{file_id}/content",
    response_class=StreamingResponse,
    responses=declared(NotFound, BeyondTheEnd) | downloads.documented_in_parts(downloads.BYTES),
)
@waits_for_store
def download_file(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    threads: ReadingThreads,
    file_id: str,
    wanted: downloads.Range = None,
    accept: result_text.Accept = "*/*",
) -> StreamingResponse:
    """Download the content of a file. With the header `Range`, download only a part of it.

    OpenAI's clients get the CSV of a job's results as base64, as OpenAI sends it, unless they send the header
    `Accept: text/csv`. All other clients get the CSV itself.
    """
    with sessions() as session:
        file = service.get(session, caller.project_id, file_id)
    if result_text.is_wanted(file, accept):
        chunks = downloads.stored_bytes(store, file.object_key, file_id)
        text, size = result_text.encoded(chunks), result_text.size(file.bytes)
        return downloads.download(text, file.filename, threads, size=size)
    part = downloads.asked_part(wanted, file.bytes)
    chunks = downloads.stored_bytes(store, file.object_key, file_id, part)
    return downloads.download(chunks, file.filename, threads, size=file.bytes, part=part)


@router.delete("/{file_id}", responses=declared(NotFound, Conflict, InvalidRequest))
def delete_file(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, file_id: str
) -> FileDeleted:
    """Delete a file. A file that a job still needs cannot be deleted."""
    delete = partial(service.delete, session, caller.project_id, file_id)
    return deleted(session, attempt, FileDeleted(id=file_id), "file.deleted", delete)
