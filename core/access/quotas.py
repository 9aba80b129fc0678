"""Quotas: the limits of a project. None is no limit.

This module checks waiting jobs and stored bytes. `core/jobs/queue.py` limits running jobs when they are
claimed, and `api/http/rates.py` limits requests per minute.
"""

from dataclasses import dataclass
from typing import Self

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import QuotaExceeded, RateLimited
from core.settings import Settings
from core.tables import File, Job, Project, Upload

QUEUE_RETRY_SECONDS = 30


@dataclass(frozen=True)
class Quotas:
    """The limits of a project: its own, or else the installation's."""

    queued_jobs: int | None = None
    running_jobs: int | None = None
    stored_bytes: int | None = None
    requests_per_minute: int | None = None

    @classmethod
    def of(cls, project: Project, settings: Settings) -> Self:
        """Return the limits of this project."""
        return cls(
            queued_jobs=_own(project.max_queued_jobs, settings.project_queued_jobs),
            running_jobs=_own(project.max_running_jobs, settings.project_jobs),
            stored_bytes=_own(project.max_stored_bytes, settings.project_stored_bytes),
            requests_per_minute=_own(project.max_requests_per_minute, settings.project_requests_per_minute),
        )


def check_queue(session: Session, project_id: str, most: int | None) -> None:
    """Check the queue after a job has joined it in this transaction. Raises RateLimited."""
    if most is None:
        return
    _wait_for_others_of_the_project(session, project_id)
    queued = select(func.count()).where(Job.project_id == project_id, Job.status == "queued")
    if session.scalars(queued).one() > most:
        raise RateLimited(
            f"This project may have {most} job{'' if most == 1 else 's'} in the queue, which is full. Wait "
            "until a job starts, cancel or pause a job, or ask the operator for a larger quota.",
            retry_after=QUEUE_RETRY_SECONDS,
        )


def check_store(session: Session, project_id: str, most: int | None, announced: int = 0) -> None:
    """Check the stored bytes: after this transaction has added a file, or before `announced` bytes arrive.

    Raises QuotaExceeded.
    """
    if most is None:
        return
    _wait_for_others_of_the_project(session, project_id)
    if stored_bytes(session, project_id) + announced > most:
        raise QuotaExceeded(
            f"This project may store {most} bytes of files, and this file does not fit. Delete files, cancel "
            "pending uploads, or ask the operator for a larger quota.",
            param="file",
        )


def stored_bytes(session: Session, project_id: str) -> int:
    """Return the bytes of the project's uploaded and produced files, and of pending uploads.

    A pending upload counts with its announced size while it can still be completed. Adapters and checkpoints
    are not counted.
    """
    files = select(func.coalesce(func.sum(File.bytes), 0)).where(
        File.project_id == project_id, File.deleted_at.is_(None)
    )
    announced = select(func.coalesce(func.sum(Upload.bytes), 0)).where(
        Upload.project_id == project_id, Upload.status == "pending", Upload.expires_at > func.now()
    )
    return int(session.scalars(select(files.scalar_subquery() + announced.scalar_subquery())).one())


def _wait_for_others_of_the_project(session: Session, project_id: str) -> None:
    """Wait for other transactions that count for this project, so that each sees what the others have added.

    The lock ends with the transaction.
    """
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))


def _own(own: int | None, default: int | None) -> int | None:
    return default if own is None else own
