"""Reads of files. Each takes the project."""

from datetime import timedelta

from sqlalchemy import BindParameter, Select, Text, bindparam, func, or_, select
from sqlalchemy.orm import Session

from api.http.paging import bytes_of, fetch_page
from core.jobs.files_in_use import may_read
from core.tables import File, Job


def find(session: Session, project_id: str, file_id: str, *, lock: bool = False) -> File | None:
    """Return the project's file, unless it is deleted or has expired.

    With `lock`, no other transaction deletes it, or gives it to a job, until this one ends.
    """
    query = _present(project_id).where(File.id == file_id)
    return session.scalars(query.with_for_update() if lock else query).one_or_none()


def find_for_job(session: Session, project_id: str, file_id: str) -> File | None:
    """Return the project's file, and keep it from deletion until the transaction ends.

    Other transactions may give it to their jobs meanwhile.
    """
    return session.scalars(FOR_JOB, {"project_id": project_id, "file_id": file_id}).one_or_none()


def page(
    session: Session,
    project_id: str,
    purpose: str | None,
    *,
    after: str | None,
    limit: int,
    newest_first: bool,
) -> tuple[list[File], bool]:
    query = _present(project_id)
    if purpose is not None:
        query = query.where(File.purpose == purpose)
    rows, has_more = fetch_page(
        session,
        query,
        File.id,
        after=after,
        limit=limit,
        newest_first=newest_first,
        size=bytes_of(File.lineage),
    )
    return [file for (file,) in rows], has_more


def has_new_file(session: Session, project_id: str, window: timedelta, least_bytes: int) -> bool:
    """Return whether the project has a file that was made within `window` and has at least so many bytes."""
    new = _present(project_id).where(File.created_at > func.now() - window, File.bytes >= least_bytes)
    return session.scalars(new.limit(1)).first() is not None


def unfinished_job_with(session: Session, project_id: str, file_id: str) -> str | None:
    """Return the id of a job that has not ended and may still read the file. A paused job counts too."""
    return session.scalar(select(Job.id).where(may_read(project_id, file_id)).limit(1))


def _present(project_id: str | BindParameter[str]) -> Select[File]:
    return select(File).where(
        File.project_id == project_id,
        File.deleted_at.is_(None),
        or_(File.expires_at.is_(None), File.expires_at > func.now()),
    )


# Built once, not again for each new job.
FOR_JOB = (
    _present(bindparam("project_id", type_=Text))
    .where(File.id == bindparam("file_id", type_=Text))
    .with_for_update(read=True)
)
