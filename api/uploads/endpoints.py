"""/v1/uploads: announce a large file, send its parts, and complete or cancel the upload.

The parts may come in any order, and several at once.
"""

from anyio import to_thread
from fastapi import Request
from sqlalchemy.orm import Session, sessionmaker

from api.admission.auth import CurrentCaller
from api.admission.bodies import streams_body
from api.admission.callers import Caller
from api.admission.fair_share import ShortPermit, takes_no_permit
from api.admission.store_threads import in_threads
from api.dependencies import AppSettings, Images, Sessions, Store, Transaction, UploadThreads
from api.files import service as files
from api.files.intake import ReceivedFile
from api.files.registration import kept_if_registered
from api.http.errors import declared
from api.http.forms import receive
from api.http.idempotency import ThisAttempt, created, found_by, repeatable
from api.http.routers import feature
from api.schemas import from_row
from api.uploads import service
from api.uploads.assembly import Assembly, stored_parts
from api.uploads.part import PartIntake, PartLimits
from api.uploads.schemas import PART_BODY, CompleteUpload, CreateUpload, UploadObject, UploadPartObject
from core.access import audit
from core.access.idempotency import Attempt, earlier_answer, for_good
from core.access.quotas import check_store, check_uploads
from core.errors import AppError, Conflict, InvalidRequest, NotFound, QuotaExceeded, TooLarge
from core.ids import new_id
from core.process.failpoints import reached
from core.storage.object_store import file_key
from core.tables import Upload

router = feature("/v1/uploads", "Uploads", InvalidRequest, TooLarge)


@router.post("", responses=declared(Conflict, QuotaExceeded))
def create_upload(
    session: Transaction,
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    body: CreateUpload,
) -> UploadObject:
    """Announce a file that comes in parts. Send the parts and complete the upload within an hour."""

    def create() -> UploadObject:
        check_store(session, caller.project_id, caller.quotas.stored_bytes, body.bytes)
        upload = service.create(session, caller.project_id, body, settings.max_upload_bytes)
        check_uploads(session, caller.project_id, caller.quotas.open_uploads)
        audit.record(session, caller, "upload.created", upload.id)
        return UploadObject.of(upload)

    is_pending = found_by(service.get_pending, caller.project_id)
    return created(session, attempt, UploadObject, body, create, is_pending)


@router.post("/{upload_id}/parts", openapi_extra=PART_BODY, responses=declared(NotFound, QuotaExceeded))
@takes_no_permit  # it mostly waits for its client
@streams_body
async def create_part(
    request: Request,
    caller: CurrentCaller,
    store: Store,
    sessions: Sessions,
    threads: UploadThreads,
    permit: ShortPermit,
    upload_id: str,
) -> UploadPartObject:
    """Send a part of the file.

    A retry may store the part twice. This does no harm: the file consists only of the parts that the request
    to complete the upload names. A part that is larger than the announced file is refused.
    """
    limits = await to_thread.run_sync(_part_limits, sessions, caller.project_id, upload_id, limiter=threads)
    received = await receive(request.stream(), PartIntake(request.headers, store, upload_id, limits), threads)

    def register() -> UploadPartObject:
        quota = caller.quotas.stored_bytes
        with sessions.begin() as session:
            part = service.add_part(session, caller.project_id, upload_id, received, quota)
            return from_row(UploadPartObject, part)

    try:
        async with permit():
            return await to_thread.run_sync(register, limiter=threads)
    except AppError:
        await to_thread.run_sync(store.delete, received.object_key, limiter=threads)
        raise


@router.post("/{upload_id}/complete", responses=declared(NotFound, Conflict, QuotaExceeded))
@takes_no_permit  # it mostly waits for the object store
async def complete_upload(
    caller: CurrentCaller,
    attempt: ThisAttempt,
    settings: AppSettings,
    store: Store,
    sessions: Sessions,
    threads: UploadThreads,
    images: Images,
    permit: ShortPermit,
    upload_id: str,
    body: CompleteUpload,
) -> UploadObject:
    """Make a file of the parts.

    The file is checked as in `POST /v1/files`. If it is wrong, the upload stays pending: complete it again
    with other parts, or in another order.
    """
    file_id = new_id("file-")
    found = await to_thread.run_sync(
        _completed_or_open, sessions, attempt, upload_id, body, file_id, limiter=threads
    )
    if isinstance(found, UploadObject):
        return found
    key = file_key(caller.project_id, file_id)
    async with kept_if_registered(sessions, key, file_id, threads) as registered:
        parts = in_threads(stored_parts(store, found, body.part_ids), threads)
        assembly = Assembly(store, found, file_id, body.md5, settings.max_row_bytes, images)
        received = await receive(parts, assembly, threads)
        async with permit():
            answer = await to_thread.run_sync(
                _register, sessions, caller, attempt, upload_id, body, received, limiter=threads
            )
        registered(answer.file.id if answer.file else "")
    return answer


@router.post("/{upload_id}/cancel", responses=declared(NotFound, Conflict))
def cancel_upload(session: Transaction, attempt: ThisAttempt, upload_id: str) -> UploadObject:
    """Cancel an upload. Its parts are removed, and no more are accepted."""

    def cancel() -> UploadObject:
        upload = service.cancel(session, attempt.actor.project_id, upload_id)
        audit.record(session, attempt.actor, "upload.cancelled", upload.id)
        return UploadObject.of(upload)

    return repeatable(session, attempt, UploadObject, cancel, done="upload_cancelled")


def _part_limits(sessions: sessionmaker[Session], project_id: str, upload_id: str) -> PartLimits:
    """Return how large the part may be, before its first byte is read. Raises an error if it may not come."""
    with sessions() as session:
        return service.part_limits(session, service.get_pending(session, project_id, upload_id))


def _completed_or_open(
    sessions: sessionmaker[Session], attempt: Attempt, upload_id: str, body: CompleteUpload, file_id: str
) -> UploadObject | Upload:
    """Return the answer of an earlier attempt, or else the upload, and open the file that it becomes.

    All of its parts are there.
    """
    with sessions.begin() as session:
        answer = earlier_answer(session, attempt, body.model_dump_json(), for_good)
        if answer is not None:
            return UploadObject.model_validate(answer)
        upload = service.get_pending(session, attempt.actor.project_id, upload_id)
        service.check_parts(session, upload, body.part_ids)
        files.open_content(session, upload.project_id, file_id)
        return upload


def _register(
    sessions: sessionmaker[Session],
    caller: Caller,
    attempt: Attempt,
    upload_id: str,
    body: CompleteUpload,
    received: ReceivedFile,
) -> UploadObject:
    """Complete the upload in one transaction. No session was open while the bytes were read."""
    reached("upload.assembled")
    with sessions.begin() as session:

        def complete() -> UploadObject:
            upload, file = service.complete(session, caller.project_id, upload_id, received)
            check_store(session, caller.project_id, caller.quotas.stored_bytes)
            audit.record(session, caller, "file.created", file.id, {"upload": upload.id})
            return UploadObject.of(upload, file)

        return created(session, attempt, UploadObject, body, complete, for_good)
