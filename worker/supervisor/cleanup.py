"""Removes what is over by itself: expired files, uploads and tasks, and old rows of Postgres.

What it deletes here dooms its artifacts, as a client's deletion does, and `emptying.py` removes the bytes.
`janitor.py` has the thread that calls both. No function raises, and several processes may call each one at
once.
"""

from datetime import timedelta

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session, sessionmaker

from core import artifacts
from core.access import audit, idempotency
from core.access.audit import OPERATOR
from core.artifacts import GRACE
from core.jobs.files_in_use import may_read
from core.serving import registry
from core.tables import File, IdempotencyRecord, Job, Task, Upload, UploadPart, WebhookDelivery
from core.work import client as tasks
from worker.supervisor.removal import delete_in_batches, log_failure

DELIVERIES_KEPT = timedelta(days=30)  # after the last attempt
MOST_FILES = 1000  # in one round


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
