"""Registers, reads and deletes files. Nothing here commits."""

from datetime import timedelta

from sqlalchemy import func
from sqlalchemy.orm import Session

from api.files import queries
from api.files.intake import ReceivedFile
from api.http.paging import check_cursor
from core import artifacts
from core.artifacts import LONGEST_REQUEST, Owner
from core.errors import Conflict, InvalidRequest, NotFound
from core.ids import id_pattern
from core.storage.object_store import file_key
from core.tables import File, Task
from core.work import client as tasks

FILE_ID = id_pattern("file-")


def open_content(session: Session, project_id: str, file_id: str) -> str:
    """Open the artifact of a file's bytes, before the first one is stored. Return their key."""
    key = file_key(project_id, file_id)
    artifacts.open(session, Owner("file", file_id), key, project_id, lasts=LONGEST_REQUEST)
    return key


def register(session: Session, project_id: str, received: ReceivedFile) -> File:
    """Add the row of a file whose bytes are in the object store already, keep these, and return the row."""
    file = File(
        id=received.id,
        project_id=project_id,
        filename=received.filename,
        purpose=received.purpose,
        bytes=received.bytes,
        sha256=received.sha256,
        object_key=received.object_key,
        rows=received.rows,
        kind=received.kind,
        needs=received.needs,
        longest_line=received.longest_line,
        lineage=received.lineage,
    )
    if received.lifetime is not None:
        file.expires_at = func.now() + timedelta(seconds=received.lifetime)
    session.add(file)
    session.flush()
    artifacts.keep(session, received.object_key, received.bytes)
    return file


def get(session: Session, project_id: str, file_id: str) -> File:
    """Return a file. Raises NotFound, also for a file of another project."""
    file = queries.find(session, project_id, file_id)
    if file is None:
        raise _no_such_file(file_id)
    return file


def held(session: Session, project_id: str, file_id: str) -> File:
    """Return a file, and keep it from deletion until the transaction ends. Raises NotFound."""
    return queries.find_for_job(session, project_id, file_id) or get(session, project_id, file_id)


def list_page(
    session: Session, project_id: str, purpose: str | None, after: str | None, limit: int, order: str
) -> tuple[list[File], bool]:
    check_cursor(after, FILE_ID)
    return queries.page(session, project_id, purpose, after=after, limit=limit, newest_first=order == "desc")


def delete(session: Session, project_id: str, file_id: str) -> None:
    """Hide a file and its checks from everyone. The janitor removes its bytes; its row stays for its jobs.

    Raises NotFound, and Conflict if a job that has not ended names the file.
    """
    file = queries.find(session, project_id, file_id, lock=True)
    if file is None:
        raise _no_such_file(file_id)
    job_id = queries.unfinished_job_with(session, project_id, file_id)
    if job_id is not None:
        raise Conflict(
            f"The file {file_id} is in use by the job {job_id}. Cancel the job, or wait until it has ended.",
            code="file_in_use",
            param="id",
        )
    file.deleted_at = func.now()
    artifacts.doom(session, artifacts.of("file", [file_id]))
    tasks.delete_all(session, Task.file_id == file_id)


def names_no_file(file_id: str, param: str) -> InvalidRequest:
    """Return the error for a file that a request names, and that the project does not have."""
    return InvalidRequest(f"No such File object: {file_id[:128]}", code="invalid_file_id", param=param)


def _no_such_file(file_id: str) -> NotFound:
    return NotFound(f"No such File object: {file_id}", code="file_not_found", param="id")
