"""Removes what is older than the operator wants to keep it: audit log, files, attempts at jobs, uploads."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Self

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session, sessionmaker

from core.ids import first_id_at
from core.settings import Settings
from core.tables import AuditLog, Checkpoint, File, Job, Run, Upload
from worker.supervise.cleanup import delete_files
from worker.supervise.removal import delete_in_batches, log_failure

# The trigger of the audit log lets a row be deleted only in a transaction that says so.
ALLOW_DELETION = text("SET LOCAL tunery.audit_retention = 'on'")


@dataclass(frozen=True)
class Retention:
    """For how many days things are kept. None keeps them for ever."""

    audit_days: int | None = None
    file_days: int | None = None
    run_days: int | None = None
    upload_days: int | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.retention_audit_days,
            settings.retention_file_days,
            settings.retention_run_days,
            settings.retention_upload_days,
        )


def remove_old(sessions: sessionmaker[Session], retention: Retention) -> None:
    """Remove what is too old. An error is logged; the next call goes on with the rest.

    An id begins with the time at which it was made. So the primary key finds old rows, without an index of
    their times.
    """
    if retention.audit_days is not None:
        with log_failure("old entries of the audit log"):
            old = AuditLog.id < first_id_at("audit_log-", _days_ago(retention.audit_days))
            delete_in_batches(sessions, AuditLog, old, first=ALLOW_DELETION)
    if retention.file_days is not None:
        with log_failure("old files"):
            delete_files(sessions, File.id < first_id_at("file-", _days_ago(retention.file_days)))
    if retention.run_days is not None:
        with log_failure("old runs"):
            delete_in_batches(sessions, Run, *_old_runs(retention.run_days))
    if retention.upload_days is not None:
        with log_failure("old uploads"):
            delete_in_batches(sessions, Upload, *_old_uploads(retention.upload_days))


def _old_runs(days: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of an old run that nobody needs.

    The usage has counted it, it is not its job's last one, and no checkpoint names it.
    """
    return (
        Run.job_id < first_id_at("ftjob-", _days_ago(days)),
        Run.ended_at < func.now() - timedelta(days=days),
        Run.counted.is_(True),
        select(Job.id).where(Job.id == Run.job_id, Job.fence > Run.fence).exists(),
        ~select(Checkpoint.id).where(Checkpoint.job_id == Run.job_id, Checkpoint.fence == Run.fence).exists(),
    )


def _old_uploads(days: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of an upload that ended long ago, and of which no part is stored any more."""
    return (
        Upload.id < first_id_at("upload_", _days_ago(days)),
        Upload.ended_at < func.now() - timedelta(days=days),
        Upload.cleaned_at.is_not(None),
    )


def _days_ago(days: int) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)
