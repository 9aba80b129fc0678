"""Removes what is over by itself, such as expired files, and what is older than the operator keeps it.

What it deletes here dooms its artifacts, as a client's deletion does, and `emptying.py` removes the bytes.
`janitor.py` has the thread that calls both. No function raises, and several processes may call each one at
once.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from sqlalchemy import ColumnElement, delete, func, select, text, update
from sqlalchemy.orm import Session, sessionmaker

from core import artifacts
from core.access import audit, idempotency
from core.access.audit import OPERATOR
from core.artifacts import GRACE
from core.database import database_time
from core.ids import first_id_at
from core.jobs.files_in_use import may_read
from core.serving import registry, stored_completions
from core.serving.stored_completions import ID_PREFIX
from core.settings import Settings
from core.tables import (
    AuditLog,
    Checkpoint,
    Claim,
    CompletionBytes,
    File,
    IdempotencyRecord,
    Job,
    Project,
    StoredCompletion,
    Task,
    Upload,
    UploadPart,
    WebhookDelivery,
)
from core.work import client as tasks
from worker.supervisor.removal import delete_in_batches, log_failure

DELIVERIES_KEPT = timedelta(days=30)  # after the last attempt
MOST_FILES = 1000  # in one round
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


def end_overdue_uploads(sessions: sessionmaker[Session]) -> None:
    """End the uploads that nobody completed in time. Their artifacts end by themselves."""
    with log_failure("uploads"):
        overdue = (Upload.status == "pending") & (Upload.expires_at < func.now() - GRACE)
        expired = update(Upload).where(overdue).values(status="expired", ended_at=Upload.expires_at)
        with sessions.begin() as session:
            ended = session.scalars(expired.returning(Upload.id)).all()
            session.execute(delete(UploadPart).where(UploadPart.upload_id.in_(ended)))


def delete_expired_tasks(sessions: sessionmaker[Session]) -> None:
    """Delete the tasks whose time is over. Their rows stay, and their texts go with their files."""
    with log_failure("expired tasks"), sessions.begin() as session:
        tasks.delete_all(session, Task.expires_at < func.now())


def remove_gone_servers(sessions: sessionmaker[Session]) -> None:
    """Delete the rows of servers that have not reported themselves for a while."""
    with log_failure("servers"), sessions.begin() as session:
        registry.remove_gone(session)


def delete_expired_files(sessions: sessionmaker[Session]) -> None:
    """Delete expired files, unless a job that has not ended reads them. No new job can name such a file."""
    with log_failure("expired files"):
        delete_files(sessions, File.expires_at < func.now() - GRACE)


def delete_files(sessions: sessionmaker[Session], *conditions: ColumnElement[bool]) -> None:
    """Mark up to MOST_FILES files that meet the conditions as deleted, except those of unfinished jobs."""
    unused = ~select(Job.id).where(may_read(File.project_id, File.id)).exists()
    old = select(File.id).where(File.deleted_at.is_(None), unused, *conditions).limit(MOST_FILES)
    with sessions() as session:
        file_ids = session.scalars(old).all()
    for file_id in file_ids:
        with log_failure(file_id), sessions.begin() as session:
            session.get(File, file_id, with_for_update=True)  # so that no new job takes it meanwhile
            still = update(File).where(File.id == file_id, File.deleted_at.is_(None), unused)
            project_id = session.scalar(still.values(deleted_at=func.now()).returning(File.project_id))
            if project_id is not None:
                artifacts.doom(session, artifacts.of("file", [file_id]))
                tasks.delete_all(session, Task.file_id == file_id)
                audit.record(session, OPERATOR.on(project_id), "file.expired", file_id)


def remove_old_deliveries(sessions: sessionmaker[Session]) -> None:
    """Remove webhook deliveries that ended long ago. They can then no longer be sent again."""
    tried_at = func.coalesce(WebhookDelivery.last_attempt_at, WebhookDelivery.created_at)
    ended = WebhookDelivery.next_attempt_at.is_(None)
    with log_failure("deliveries"):
        delete_in_batches(sessions, WebhookDelivery, ended, tried_at < func.now() - DELIVERIES_KEPT)


def remove_old_idempotency_records(sessions: sessionmaker[Session]) -> None:
    """Remove the records of requests that no client repeats any more."""
    with log_failure("idempotency records"):
        old = IdempotencyRecord.created_at < func.now() - idempotency.KEPT
        delete_in_batches(sessions, IdempotencyRecord, old)


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
            delete_in_batches(sessions, Claim, *_old_claims(now, retention.run_days))
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


def _old_claims(now: datetime, days: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of an old claim that nobody needs.

    The usage has counted it, it is not its job's last one, and no checkpoint names it.
    """
    return (
        Claim.job_id < first_id_at("ftjob-", _ago(now, days)),
        Claim.ended_at < func.now() - timedelta(days=days),
        Claim.counted.is_(True),
        select(Job.id).where(Job.id == Claim.job_id, Job.fence > Claim.fence).exists(),
        ~select(Checkpoint.id)
        .where(Checkpoint.job_id == Claim.job_id, Checkpoint.fence == Claim.fence)
        .exists(),
    )


def _old_uploads(now: datetime, days: int) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of an upload that ended long ago."""
    return (
        Upload.id < first_id_at("upload_", _ago(now, days)),
        Upload.ended_at < func.now() - timedelta(days=days),
    )


def _ago(now: datetime, days: int) -> datetime:
    return now - timedelta(days=days)
