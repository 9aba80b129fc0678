"""What may happen to an upload. Nothing here commits.

An upload ends once: completing and cancelling lock its row, and whoever comes second is told what happened. A
part locks the row too while it is registered, so none is added to an upload that has ended, nor one too many.
"""

from datetime import timedelta

from sqlalchemy import func
from sqlalchemy.orm import Session

from api.files import service as files
from api.files.intake import ReceivedFile, clean_filename
from api.uploads import queries
from api.uploads.part import MAX_PART_BYTES, ReceivedPart
from api.uploads.schemas import MAX_PARTS, CreateUpload
from core.errors import InvalidRequest, NotFound
from core.ids import new_id
from core.tables import File, Upload, UploadPart

LIFETIME = timedelta(hours=1)


def create(session: Session, project_id: str, request: CreateUpload, max_bytes: int) -> Upload:
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
    return upload


def get_pending(
    session: Session,
    project_id: str,
    upload_id: str,
    *,
    lock: bool = False,
    was_in_time: bool = False,
) -> Upload:
    """Raises NotFound, also for an upload of another project, and InvalidRequest where it has ended.

    With `was_in_time`, its time may be over, as long as nobody has noticed.
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


def add_part(session: Session, project_id: str, upload_id: str, received: ReceivedPart) -> UploadPart:
    """The row of a part whose bytes are in the object store already. Raises AppError before it is written.

    There is room for each part twice, and for one more: retries must not keep an upload from its completion.
    """
    upload = get_pending(session, project_id, upload_id, lock=True)
    count, size = queries.stored_parts(session, upload_id)
    most_parts, most_bytes = 2 * MAX_PARTS, 2 * upload.bytes + MAX_PART_BYTES
    if count >= most_parts or size + received.bytes > most_bytes:
        raise InvalidRequest(
            f"Upload {upload_id} holds {count} parts of {size} bytes together; for a file of {upload.bytes} "
            f"bytes up to {most_parts} parts and {most_bytes} bytes are possible. Complete it with those "
            "that make the file, or cancel it.",
            code="too_many_parts",
            param="data",
        )
    part = UploadPart(id=received.id, upload_id=upload_id, bytes=received.bytes)
    session.add(part)
    session.flush()
    return part


def check_parts(session: Session, upload: Upload, part_ids: list[str]) -> None:
    """Raises InvalidRequest where they do not make the file that was announced."""
    sizes = queries.part_sizes(session, upload.id)
    unknown = next((part_id for part_id in part_ids if part_id not in sizes), None)
    if unknown is not None:
        raise _wrong_parts(f"Upload {upload.id} has no part {unknown!r}.")
    if len(set(part_ids)) < len(part_ids):
        raise _wrong_parts("A part stands twice in 'part_ids'.")
    size = sum(sizes[part_id] for part_id in part_ids)
    if size != upload.bytes:
        raise _wrong_parts(
            f"The parts have {size} bytes together, but {upload.bytes} were announced for the file.",
            code="bytes_mismatch",
        )


def complete(
    session: Session, project_id: str, upload_id: str, received: ReceivedFile
) -> tuple[Upload, File]:
    """Make the assembled file the upload's. An upload that ended meanwhile stays as it is: InvalidRequest."""
    upload = get_pending(session, project_id, upload_id, lock=True, was_in_time=True)
    file = files.register(session, project_id, received)
    upload.status, upload.file_id, upload.ended_at = "completed", file.id, func.now()
    session.flush()
    return upload, file


def cancel(session: Session, project_id: str, upload_id: str) -> Upload:
    upload = get_pending(session, project_id, upload_id, lock=True)
    upload.status, upload.ended_at = "cancelled", func.now()
    session.flush()
    return upload


def _wrong_parts(message: str, code: str = "invalid_value") -> InvalidRequest:
    return InvalidRequest(message, code=code, param="part_ids")
