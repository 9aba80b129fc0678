"""Removes what is older than the operator wants to keep it.

That is the audit log, files, attempts at jobs, uploads and stored chat completions.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from core.database import database_time
from core.ids import first_id_at
from core.serving import stored_completions
from core.serving.stored_completions import ID_PREFIX
from core.settings import Settings
from core.tables import (
    AuditLog,
    Checkpoint,
    CompletionBytes,
    File,
    Job,
    Project,
    Run,
    StoredCompletion,
    Upload,
)
from worker.supervisor.cleanup import delete_files
from worker.supervisor.removal import delete_in_batches, log_failure

# The trigger of the audit log lets a row be deleted only in a transaction that says so.
ALLOW_DELETION = text("SET LOCAL tunery.audit_retention = 'on'")


@dataclass(frozen=True)
class Retention:
    """For how many days things are kept. None keeps them for ever."""

    audit_days: int | None = None
    file_days: int | None = None
    run_days: int | None = None
    upload_days: int | None = None
    completion_days: int | None = None  # of projects without a time of their own

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.retention_audit_days,
            settings.retention_file_days,
            settings.retention_run_days,
            settings.retention_upload_days,
            settings.project_completion_days,
        )


def remove_old(sessions: sessionmaker[Session], retention: Retention) -> None:
    """Remove what is too old. An error is logged; the next call goes on with the rest.

    An id begins with the time at which it was made. So the primary key finds old rows, without an index of
    their times. What is old is told by the database's clock: a wrong clock of this machine removes nothing.
    """
    with log_failure("what is too old"):
        with sessions() as session:
            now = database_time(session)
        _remove_older(sessions, retention, now)


def _remove_older(sessions: sessionmaker[Session], retention: Retention, now: datetime) -> None:
    if retention.audit_days is not None:
        with log_failure("old entries of the audit log"):
            old = AuditLog.id < first_id_at("audit_log-", _ago(now, retention.audit_days))
            delete_in_batches(sessions, AuditLog, old, first=ALLOW_DELETION)
    if retention.file_days is not None:
        with log_failure("old files"):
            delete_files(sessions, File.id < first_id_at("file-", _ago(now, retention.file_days)))
    if retention.run_days is not None:
        with log_failure("old runs"):
            delete_in_batches(sessions, Run, *_old_runs(now, retention.run_days))
    if retention.upload_days is not None:
        with log_failure("old uploads"):
            delete_in_batches(sessions, Upload, *_old_uploads(now, retention.upload_days))
    with log_failure("old completions"):
        remove_old_completions(sessions, now, retention.completion_days)


def remove_old_completions(sessions: sessionmaker[Session], now: datetime, default_days: int | None) -> None:
    """Remove the stored completions of each project after the project's own time, or else the default one."""
    with sessions() as session:
        storing = select(Project.id, func.coalesce(Project.max_completion_days, default_days)).join(
            CompletionBytes, CompletionBytes.project_id == Project.id
        )
        projects = session.execute(storing).all()
    for project_id, days in projects:
        with log_failure(f"old completions of {project_id}"):
            removed = days is not None
            while removed:
                with sessions.begin() as session:
                    old = StoredCompletion.id < first_id_at(ID_PREFIX, _ago(now, days))
                    removed = stored_completions.remove(session, project_id, old) > 0


def _old_runs(now: datetime, days: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of an old run that nobody needs.

    The usage has counted it, it is not its job's last one, and no checkpoint names it.
    """
    return (
        Run.job_id < first_id_at("ftjob-", _ago(now, days)),
        Run.ended_at < func.now() - timedelta(days=days),
        Run.counted.is_(True),
        select(Job.id).where(Job.id == Run.job_id, Job.fence > Run.fence).exists(),
        ~select(Checkpoint.id).where(Checkpoint.job_id == Run.job_id, Checkpoint.fence == Run.fence).exists(),
    )


def _old_uploads(now: datetime, days: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of an upload that ended long ago."""
    return (
        Upload.id < first_id_at("upload_", _ago(now, days)),
        Upload.ended_at < func.now() - timedelta(days=days),
    )


def _ago(now: datetime, days: int) -> datetime:
    return now - timedelta(days=days)
