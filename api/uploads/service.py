"""Creates, completes and cancels uploads, and adds parts to them. Nothing here commits.

An upload ends only once. A request that completes or cancels it locks its row, and a second request gets an
error that says how the upload ended. A request that adds a part locks the row too. So no part is added to an
upload that has ended, and no upload gets too many parts.
"""

from datetime import timedelta

from sqlalchemy import delete, func
from sqlalchemy.orm import Session

from api.files import service as files
from api.files.intake import ReceivedFile, clean_filename
from api.uploads import queries
from api.uploads.part import MAX_PART_BYTES, PartLimits, ReceivedPart
from api.uploads.schemas import MAX_PARTS, CreateUpload
from core import artifacts
from core.access.quotas import check_store
from core.artifacts import GRACE, Owner
from core.errors import InvalidRequest, NotFound
from core.ids import new_id
from core.storage.object_store import upload_prefix
from core.tables import File, Upload, UploadPart

LIFETIME = timedelta(hours=1)


def create(session: Session, project_id: str, request: CreateUpload, max_bytes: int) -> Upload:
    """Create an upload. Raises InvalidRequest if the file is larger than `max_bytes`."""
    if request.bytes > max_bytes:
        raise InvalidRequest(
            f"The file is too large: this server takes files of up to {max_bytes} bytes in parts.",
            code="file_too_large",
            param="bytes",
        )
    upload = Upload(
        id=new_id("upload_"),
        project_id=project_id,
        filename=clean_filename(request.filename),
        purpose=request.purpose,
        bytes=request.bytes,
        file_lifetime=request.expires_after.seconds if request.expires_after else None,
        expires_at=func.now() + LIFETIME,
    )
    session.add(upload)
    session.flush()
    artifacts.open(
        session,
        Owner("upload", upload.id),
        upload_prefix(upload.id),
        project_id,
        announced=request.bytes,
        lasts=LIFETIME + GRACE,
    )
    return upload


def get_pending(
    session: Session,
    project_id: str,
    upload_id: str,
    *,
    lock: bool = False,
    was_in_time: bool = False,
) -> Upload:
    """Return an upload that has not ended.

    Raises NotFound, also for an upload of another project, and InvalidRequest if it has ended. `was_in_time`
    says that the request began before the upload expired, so that the time is not checked again.
    """
    found = queries.find(session, project_id, upload_id, lock=lock)
    if found is None:
        raise NotFound(f"No such Upload object: {upload_id}", code="upload_not_found", param="upload_id")
    upload, overdue = found
    if upload.status == "pending" and (was_in_time or not overdue):
        return upload
    status = "expired" if upload.status == "pending" else upload.status
    what = f"has been completed as the file {upload.file_id}" if upload.file_id else f"is {status}"
    raise InvalidRequest(f"Upload {upload_id} {what}.", code=f"upload_{status}", param="upload_id")


def part_limits(session: Session, upload: Upload) -> PartLimits:
    """Return how large the next part may be. Raises InvalidRequest if the upload has too many parts.

    An upload has room for each part twice, and for one more part, so that it can be completed even if a
    client has sent parts again.
    """
    count, size = queries.stored_parts(session, upload.id)
    most_parts, most_bytes = 2 * MAX_PARTS, 2 * upload.bytes + min(upload.bytes, MAX_PART_BYTES)
    full = InvalidRequest(
        f"Upload {upload.id} holds {count} parts of {size} bytes together. For a file of {upload.bytes} "
        f"bytes, it may hold up to {most_parts} parts and {most_bytes} bytes. Complete it with the parts "
        "that make the file, or cancel it.",
        code="too_many_parts",
        param="data",
    )
    if count >= most_parts:
        raise full
    return PartLimits(upload.bytes, most_bytes - size, full)


def add_part(
    session: Session, project_id: str, upload_id: str, received: ReceivedPart, stored_bytes: int | None
) -> UploadPart:
    """Add the row of a part whose bytes are in the object store already, and return it.

    Raises AppError if the part cannot be added. Parts beyond the announced size, which was checked at the
    creation, need room in the project's quota of `stored_bytes`.
    """
    upload = get_pending(session, project_id, upload_id, lock=True)
    part_limits(session, upload).check(received.bytes)
    part = UploadPart(id=received.id, upload_id=upload_id, bytes=received.bytes)
    session.add(part)
    session.flush()
    _, size = queries.stored_parts(session, upload_id)
    if size > upload.bytes:
        artifacts.count(session, upload_prefix(upload_id), size)
        check_store(session, project_id, stored_bytes)
    return part


def check_parts(session: Session, upload: Upload, part_ids: list[str]) -> None:
    """Raise InvalidRequest if the parts do not make the file that was announced."""
    sizes = queries.part_sizes(session, upload.id)
    unknown = next((part_id for part_id in part_ids if part_id not in sizes), None)
    if unknown is not None:
        raise _wrong_parts(
            f"Upload {upload.id} has no part {unknown!r}. Send it, or leave it out of 'part_ids'."
        )
    if len(set(part_ids)) < len(part_ids):
        raise _wrong_parts("'part_ids' names a part twice. Name each part once.")
    size = sum(sizes[part_id] for part_id in part_ids)
    if size != upload.bytes:
        raise _wrong_parts(
            f"The parts have {size} bytes together, but the upload was announced with {upload.bytes} bytes.",
            code="bytes_mismatch",
        )


def complete(
    session: Session, project_id: str, upload_id: str, received: ReceivedFile
) -> tuple[Upload, File]:
    """Complete the upload with the assembled file.

    Raises InvalidRequest if the upload has ended meanwhile; it then stays as it is.
    """
    upload = get_pending(session, project_id, upload_id, lock=True, was_in_time=True)
    file = files.register(session, project_id, received)
    _end(session, upload, "completed", file)
    return upload, file


def cancel(session: Session, project_id: str, upload_id: str) -> Upload:
    """Cancel the upload. Raises NotFound, and InvalidRequest if it has ended."""
    upload = get_pending(session, project_id, upload_id, lock=True)
    _end(session, upload, "cancelled")
    return upload


def _end(session: Session, upload: Upload, status: str, file: File | None = None) -> None:
    """End an upload that is locked. Its parts count until they are removed, but not twice beside its file."""
    _, size = queries.stored_parts(session, upload.id)
    artifacts.end(session, upload_prefix(upload.id), max(size - (0 if file is None else file.bytes), 0))
    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload.id))
    upload.status, upload.ended_at = status, func.now()
    upload.file_id = None if file is None else file.id
    session.flush()


def _wrong_parts(message: str, code: str = "invalid_value") -> InvalidRequest:
    return InvalidRequest(message, code=code, param="part_ids")
