"""Removes what ended jobs, uploads, adapters, files and webhook deliveries leave behind.

This module has the removals; `janitor.py` has the thread that calls them. First the database says that
something is gone, and later its objects are deleted from the store. If a process dies in between, the next
call finds what is left. No function raises, and several processes may call each one at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, Select, delete, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from core.access import audit
from core.access.audit import OPERATOR
from core.statuses import ENDED
from core.storage.object_store import (
    STORE_ERRORS,
    ObjectStore,
    adapters_prefix,
    checkpoints_prefix,
    results_prefix,
    upload_prefix,
)
from core.tables import (
    Adapter,
    Candidate,
    CandidateMetric,
    Checkpoint,
    CheckpointPermission,
    Event,
    File,
    Job,
    Metric,
    Tracker,
    Upload,
    UploadPart,
    WebhookDelivery,
)

GRACE = timedelta(minutes=10)  # a request or a trainer may go on for so long after the end or the expiry
DELIVERIES_KEPT = timedelta(days=30)  # after the last attempt

UPLOADED_BY_TRAINERS = (checkpoints_prefix, adapters_prefix, results_prefix)
DELETED_WITH_JOB = (Tracker, Candidate, CandidateMetric, Metric, Event, Checkpoint)

log = structlog.get_logger()


def remove_resume_checkpoints(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove the checkpoints of ended jobs, except those that the API lists. Only a running job resumes.

    This also removes objects of checkpoints that a lost trainer uploaded and that no row names.
    """
    with _log_failure("checkpoints"):
        for job_id in _ended_jobs(sessions):
            with _log_failure(f"checkpoints of {job_id}"):
                listed = select(Checkpoint.object_prefix).where(
                    Checkpoint.job_id == job_id, Checkpoint.listed
                )
                _delete_all_but(store, checkpoints_prefix(job_id), _fetch(sessions, listed))
                with sessions.begin() as session:
                    unlisted = (Checkpoint.job_id == job_id) & ~Checkpoint.listed
                    session.execute(delete(Checkpoint).where(unlisted))


def remove_orphans(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove the objects of jobs that ended a while ago, except those that rows name.

    A trainer leaves orphans if it is lost, or its job is cancelled, before it can write the row of an upload.
    """
    with _log_failure("orphans"):
        for job_id in _jobs_to_clean(sessions, Job.finished_at, Job.deleted_at.is_(None)):
            with _log_failure(f"orphans of {job_id}"):
                named = _named_objects(sessions, job_id)
                for prefix in UPLOADED_BY_TRAINERS:
                    _delete_all_but(store, prefix(job_id), named)
                with sessions.begin() as session:
                    _mark_cleaned(session, Job, job_id, Job.deleted_at.is_(None))


def remove_deleted_jobs(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove what belonged to deleted jobs, once no trainer can still be uploading a checkpoint of the job.

    The job's row stays, without the texts of its owner: adapters, usage and the audit log refer to it.
    """
    with _log_failure("jobs"):
        for job_id in _jobs_to_clean(sessions, Job.deleted_at):
            with _log_failure(job_id):
                store.delete_prefix(checkpoints_prefix(job_id))
                for table in DELETED_WITH_JOB:
                    with (
                        sessions.begin() as session
                    ):  # one table at a time: a search may have millions of metrics
                        session.execute(delete(table).where(table.job_id == job_id))
                with sessions.begin() as session:
                    shared = CheckpointPermission
                    session.execute(delete(shared).where(shared.job_id == job_id, shared.step.is_not(None)))
                    _mark_cleaned(session, Job, job_id, client_metadata=None, integrations=[])


def remove_parts(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove the parts of uploads that have ended or expired. The file that an upload became stays."""
    with _log_failure("parts"):
        _expire_uploads(sessions)
        for upload_id, file_key in _ended_uploads(sessions):
            with _log_failure(f"parts of {upload_id}"):
                prefix = upload_prefix(upload_id)
                store.abort_writes(prefix)
                for key in store.list(prefix):
                    if key != file_key:
                        store.delete(key)
                with sessions.begin() as session:
                    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))
                    _mark_cleaned(session, Upload, upload_id)


def remove_deleted_adapters(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove the objects of deleted adapters."""
    with _log_failure("adapters"):
        for adapter_id, prefix in _deleted_adapters(sessions):
            with _log_failure(adapter_id):
                store.delete_prefix(prefix)
                with sessions.begin() as session:
                    _mark_cleaned(session, Adapter, adapter_id)


def remove_expired_files(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove expired files, unless a job that has not ended reads them. No new job can name such a file."""
    with _log_failure("files"):
        for file_id, project_id, key in _expired_files(sessions):
            with _log_failure(file_id):
                store.delete(key)
                with sessions.begin() as session:
                    there = (File.id == file_id) & File.deleted_at.is_(None)
                    expired = update(File).where(there).values(deleted_at=func.now()).returning(File.id)
                    if session.scalar(expired) is not None:
                        audit.record(session, OPERATOR.on(project_id), "file.expired", file_id)


def remove_old_deliveries(sessions: sessionmaker[Session], store: ObjectStore) -> None:  # noqa: ARG001
    """Remove webhook deliveries that ended long ago. They can then no longer be sent again."""
    with _log_failure("deliveries"), sessions.begin() as session:
        oldest = func.now() - DELIVERIES_KEPT
        tried_at = func.coalesce(WebhookDelivery.last_attempt_at, WebhookDelivery.created_at)
        session.execute(
            delete(WebhookDelivery).where(WebhookDelivery.next_attempt_at.is_(None), tried_at < oldest)
        )


@contextmanager
def _log_failure(what: str) -> Iterator[None]:
    """Log a failure of the database or the store, and go on: the janitor's next round tries again."""
    try:
        yield
    except (SQLAlchemyError, *STORE_ERRORS) as error:
        log.warning("not_removed", what=what, error=str(error))


def _delete_all_but(store: ObjectStore, prefix: str, kept: list[str]) -> None:
    """Delete the objects under `prefix`, except those whose keys begin with one of `kept`."""
    for key in store.list(prefix):
        if not key.startswith(tuple(kept)):
            store.delete(key)


def _mark_cleaned(
    session: Session,
    table: type[Job] | type[Upload] | type[Adapter],
    row_id: str,
    *conditions: ColumnElement[bool],
    **changes: object,
) -> None:
    """Write that nothing of the row is left to remove, so that the next round passes over it."""
    row = update(table).where(table.id == row_id, *conditions)
    session.execute(row.values(cleaned_at=func.now(), **changes))


def _fetch(sessions: sessionmaker[Session], query: Select[str]) -> list[str]:
    with sessions() as session:
        return list(session.scalars(query))


def _ended_jobs(sessions: sessionmaker[Session]) -> list[str]:
    """Return the ended jobs that have checkpoints to remove."""
    query = (
        select(Checkpoint.job_id)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Job.status.in_(ENDED), ~Checkpoint.listed)
        .distinct()
    )
    return _fetch(sessions, query)


def _jobs_to_clean(
    sessions: sessionmaker[Session],
    since: InstrumentedAttribute[datetime | None],
    *conditions: ColumnElement[bool],
) -> list[str]:
    """Return the jobs that are not cleaned yet, and for which GRACE has passed since the time in `since`."""
    to_clean = Job.finished_at.is_not(None) & Job.cleaned_at.is_(None)  # the condition of the partial index
    return _fetch(sessions, select(Job.id).where(to_clean, since < func.now() - GRACE, *conditions))


def _named_objects(sessions: sessionmaker[Session], job_id: str) -> list[str]:
    """Return the prefixes of a job's checkpoints and adapters, and the key of its result file."""
    queries = (
        select(Checkpoint.object_prefix).where(Checkpoint.job_id == job_id),
        select(Adapter.object_prefix).where(Adapter.job_id == job_id),
        select(File.object_key).join(Job, Job.result_file_id == File.id).where(Job.id == job_id),
    )
    return [named for query in queries for named in _fetch(sessions, query)]


def _expire_uploads(sessions: sessionmaker[Session]) -> None:
    """End the uploads that nobody completed in time."""
    overdue = (Upload.status == "pending") & (Upload.expires_at < func.now() - GRACE)
    expired = update(Upload).where(Upload.cleaned_at.is_(None), overdue)
    with sessions.begin() as session:
        session.execute(expired.values(status="expired", ended_at=Upload.expires_at))


def _ended_uploads(sessions: sessionmaker[Session]) -> list[tuple[str, str | None]]:
    """Return the ended uploads to clean, each with the key of the file that it became, or None."""
    query = (
        select(Upload.id, File.object_key)
        .outerjoin(File, File.id == Upload.file_id)
        .where(Upload.cleaned_at.is_(None), Upload.ended_at < func.now() - GRACE)
    )
    with sessions() as session:
        return [(upload_id, key) for upload_id, key in session.execute(query)]


def _deleted_adapters(sessions: sessionmaker[Session]) -> list[tuple[str, str]]:
    """Return the deleted adapters to clean, each with the prefix of its objects."""
    query = select(Adapter.id, Adapter.object_prefix).where(
        Adapter.deleted_at.is_not(None), Adapter.cleaned_at.is_(None)
    )
    with sessions() as session:
        return [(adapter_id, prefix) for adapter_id, prefix in session.execute(query)]


def _expired_files(sessions: sessionmaker[Session]) -> list[tuple[str, str, str]]:
    """Return the expired files that no job reads, each with its project and its key."""
    reads_it = or_(Job.training_file_id == File.id, Job.validation_file_id == File.id)
    in_use = select(Job.id).where(reads_it, Job.status.not_in(ENDED)).exists()
    query = select(File.id, File.project_id, File.object_key).where(
        File.expires_at < func.now() - GRACE, File.deleted_at.is_(None), ~in_use
    )
    with sessions() as session:
        return [(file_id, project_id, key) for file_id, project_id, key in session.execute(query)]
