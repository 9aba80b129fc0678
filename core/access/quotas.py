"""Quotas: the limits of a project. None is no limit.

This module checks waiting jobs, stored bytes and open uploads. `core/jobs/queue.py` limits running jobs when
they are claimed. `api/admission/rates.py` limits the requests per minute, `core/access/rates.py` the tokens,
`core/serving/permits.py` the chats at the same time, and `core/serving/stored_completions.py` the bytes of
stored completions.
"""

from dataclasses import dataclass
from typing import Self

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from core.artifacts import stored_bytes
from core.errors import QuotaExceeded, RateLimited
from core.settings import Settings
from core.tables import Job, Project, Upload

QUEUE_RETRY_SECONDS = 30
TO_MAKE_ROOM = (
    "Delete files, jobs, exports, evals, their runs, or imported and composed adapters; cancel open uploads; "
    "or ask the operator for a larger quota. The files of a measurement go when its adapter is deleted. "
    "Parts of an upload count until they are removed, some ten minutes after its end."
)


@dataclass(frozen=True)
class Quotas:
    """The limits of a project: its own, or else the installation's. All projects may open as many uploads."""

    queued_jobs: int | None = None
    running_jobs: int | None = None
    stored_bytes: int | None = None
    open_uploads: int | None = None
    requests_per_minute: int | None = None
    concurrent_chats: int | None = None
    tokens_per_minute: int | None = None
    completion_bytes: int = 0

    @property
    def limits_rates(self) -> bool:
        """Whether requests or tokens are counted by the minute."""
        return self.requests_per_minute is not None or self.tokens_per_minute is not None

    @classmethod
    def of(cls, project: Project, settings: Settings) -> Self:
        """Return the limits of this project."""
        return cls(
            queued_jobs=_own(project.max_queued_jobs, settings.project_queued_jobs),
            running_jobs=_own(project.max_running_jobs, settings.project_jobs),
            stored_bytes=_own(project.max_stored_bytes, settings.project_stored_bytes),
            open_uploads=settings.project_open_uploads,
            requests_per_minute=_own(project.max_requests_per_minute, settings.project_requests_per_minute),
            concurrent_chats=_own(project.max_concurrent_chats, settings.project_concurrent_chats),
            tokens_per_minute=_own(project.max_tokens_per_minute, settings.project_tokens_per_minute),
            completion_bytes=_own(project.max_completion_bytes, settings.project_completion_bytes) or 0,
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


def check_store(
    session: Session,
    project_id: str,
    most: int | None,
    announced: int = 0,
    *,
    what: str = "this file",
    param: str | None = "file",
) -> None:
    """Raise QuotaExceeded if what is stored, and `announced` bytes more, exceed `most`.

    Call it after this transaction has added its rows. `what` names in the message what does not fit.
    """
    if most is None:
        return
    _wait_for_others_of_the_project(session, project_id)
    if stored_bytes(session, project_id) + announced > most:
        raise QuotaExceeded(
            f"This project may store {most:,} bytes, and {what} does not fit. {TO_MAKE_ROOM}",
            param=param,
        )


def check_request(session: Session, project_id: str, most: int | None) -> None:
    """Raise QuotaExceeded if what a request has written into rows does not fit. Call it after that."""
    check_store(session, project_id, most, what="this request", param=None)


def check_uploads(session: Session, project_id: str, most: int | None) -> None:
    """Check the number of open uploads, after this transaction has created one. Raises QuotaExceeded."""
    if most is None:
        return
    _wait_for_others_of_the_project(session, project_id)
    opened = select(func.count()).where(Upload.project_id == project_id, _is_open())
    if session.scalars(opened).one() > most:
        raise QuotaExceeded(
            f"This project has {most} open uploads, the most that it may have. Complete or cancel one, or "
            "wait: an upload expires an hour after its creation."
        )


def _is_open() -> ColumnElement[bool]:
    """Return the condition that an upload can still be completed."""
    return (Upload.status == "pending") & (Upload.expires_at > func.now())


def _wait_for_others_of_the_project(session: Session, project_id: str) -> None:
    """Wait for other transactions that count for this project, so that each sees what the others have added.

    The lock ends with the transaction.
    """
    session.execute(select(Project.id).where(Project.id == project_id).with_for_update(key_share=True))


def _own(own: int | None, default: int | None) -> int | None:
    return default if own is None else own
