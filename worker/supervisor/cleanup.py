"""Removes what ended jobs, uploads, adapters, files, webhook deliveries and requests leave behind.

This module has the removals; `janitor.py` has the thread that calls them. First the database says that
something is gone, and later its objects are deleted from the store. If a process dies in between, the next
call finds what is left, and `store_walk.py` finds what comes later still. No function raises, and several
processes may call each one at once.
"""

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, case, delete, func, literal, null, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import InstrumentedAttribute, Session, sessionmaker

from core.access import audit, idempotency
from core.access.audit import OPERATOR
from core.files_in_use import may_read
from core.process.failpoints import reached
from core.serving import registry
from core.statuses import ENDED
from core.storage.object_store import (
    ObjectStore,
    adapters_prefix,
    checkpoints_prefix,
    results_prefix,
    tasks_prefix,
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
    IdempotencyRecord,
    Job,
    Metric,
    RowLoss,
    Task,
    Upload,
    UploadPart,
    WebhookDelivery,
)
from core.work import client as tasks
from worker.supervisor.removal import delete_in_batches, log_failure, named_objects, objects_of_tasks

GRACE = timedelta(minutes=10)  # a request or a trainer may go on for so long after the end or the expiry
DELIVERIES_KEPT = timedelta(days=30)  # after the last attempt
MOST_FILES = 1000  # in one round
NO_ERROR_ANY_MORE = {"code": "deleted", "message": "", "param": None}  # of a failed task that is deleted

DELETED_WITH_JOB = (Candidate, CandidateMetric, Metric, Event, Checkpoint, RowLoss)


def remove_resume_checkpoints(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove the checkpoints of ended jobs, except those that the API lists. Only a running job resumes.

    This also removes objects of checkpoints that a lost trainer uploaded and that no row names. The rows go
    first. If the store fails then, `remove_orphans` removes the objects.
    """
    with log_failure("checkpoints"):
        for job_id in _jobs_with_resume_checkpoints(sessions):
            with log_failure(f"checkpoints of {job_id}"):
                with sessions.begin() as session:
                    unlisted = (Checkpoint.job_id == job_id) & ~Checkpoint.listed
                    session.execute(delete(Checkpoint).where(unlisted))
                reached("checkpoints.forgotten")
                _delete_unnamed(sessions, store, job_id, checkpoints_prefix(job_id))


def remove_orphans(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove the objects of jobs that ended a while ago, except those that rows name.

    A trainer leaves orphans if it is lost, or its job is cancelled, before it can write the row of an upload.
    """
    with log_failure("orphans"):
        for job_id in _jobs_to_clean(sessions, Job.finished_at, Job.deleted_at.is_(None)):
            with log_failure(f"orphans of {job_id}"):
                _clean_up_after_trainers(sessions, store, job_id)
                with sessions.begin() as session:
                    _mark_cleaned(session, Job, job_id, Job.deleted_at.is_(None))


def remove_gone_servers(sessions: sessionmaker[Session], _store: ObjectStore) -> None:
    """Delete the rows of servers that have not reported themselves for a while."""
    with log_failure("servers"), sessions.begin() as session:
        registry.remove_gone(session)


def remove_deleted_jobs(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove what belonged to deleted jobs, once no trainer can still be uploading a checkpoint of the job.

    The job's row stays, without the texts of its owner: adapters, usage and the audit log refer to it.
    """
    with log_failure("jobs"):
        for job_id in _jobs_to_clean(sessions, Job.deleted_at):
            with log_failure(job_id):
                for table in DELETED_WITH_JOB:
                    delete_in_batches(sessions, table, table.job_id == job_id)
                _clean_up_after_trainers(sessions, store, job_id)
                with sessions.begin() as session:
                    shared = CheckpointPermission
                    session.execute(delete(shared).where(shared.job_id == job_id, shared.step.is_not(None)))
                    _mark_cleaned(session, Job, job_id, client_metadata=None, integrations=[])


def remove_parts(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove the parts of uploads that have ended or expired. The file that an upload became stays."""
    with log_failure("parts"):
        _expire_uploads(sessions)
        for upload_id, file_key in _ended_uploads(sessions):
            with log_failure(f"parts of {upload_id}"):
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
    with log_failure("adapters"):
        for adapter_id, prefix in _deleted_adapters(sessions):
            with log_failure(adapter_id):
                store.delete_prefix(prefix)
                with sessions.begin() as session:
                    _mark_cleaned(session, Adapter, adapter_id)


def remove_tasks(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Delete expired tasks, and remove the objects of deleted ones.

    The rows stay, without their files and without the texts of their owner. Requests, reports and errors may
    quote rows.

    The objects of an adapter or a file that a task has made stay with it.
    """
    with log_failure("tasks"):
        expired = update(Task).where(Task.deleted_at.is_(None), Task.expires_at < func.now())
        with sessions.begin() as session:
            session.execute(expired.values(deleted_at=func.now()))
        gone = Task.deleted_at.is_not(None) & Task.cleaned_at.is_(None)
        with sessions() as session:
            deleted = session.execute(
                select(Task.id, Task.kind).where(gone, Task.deleted_at < func.now() - GRACE)
            )
        for task_id, kind in deleted.all():
            with log_failure(task_id):
                prefix = tasks_prefix(kind, task_id)
                store.abort_writes(prefix)
                with sessions() as session:
                    named = tuple(objects_of_tasks(session, [task_id]))
                for key in store.list(prefix):
                    if not key.startswith(named):
                        store.delete(key)
                with sessions.begin() as session:
                    error = case((Task.error.is_not(None), literal(NO_ERROR_ANY_MORE, JSONB)), else_=null())
                    blank = {"files": [], "bytes": 0, "request": {}, "report": null(), "error": error}
                    _mark_cleaned(session, Task, task_id, **blank)


def delete_expired_files(sessions: sessionmaker[Session], store: ObjectStore) -> None:  # noqa: ARG001
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
                tasks.delete_all(session, Task.file_id == file_id)
                audit.record(session, OPERATOR.on(project_id), "file.expired", file_id)


def remove_deleted_files(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Remove the bytes of deleted files. Their rows stay for the jobs that name them."""
    deleted = File.deleted_at.is_not(None) & File.cleaned_at.is_(None)
    with log_failure("files"):
        with sessions() as session:
            files = session.execute(select(File.id, File.object_key).where(deleted).limit(MOST_FILES)).all()
        for file_id, key in files:
            with log_failure(file_id):
                store.delete(key)
                with sessions.begin() as session:
                    _mark_cleaned(session, File, file_id)


def remove_old_deliveries(sessions: sessionmaker[Session], store: ObjectStore) -> None:  # noqa: ARG001
    """Remove webhook deliveries that ended long ago. They can then no longer be sent again."""
    tried_at = func.coalesce(WebhookDelivery.last_attempt_at, WebhookDelivery.created_at)
    ended = WebhookDelivery.next_attempt_at.is_(None)
    with log_failure("deliveries"):
        delete_in_batches(sessions, WebhookDelivery, ended, tried_at < func.now() - DELIVERIES_KEPT)


def remove_old_idempotency_records(sessions: sessionmaker[Session], _store: ObjectStore) -> None:
    """Remove the records of requests that no client repeats any more."""
    with log_failure("idempotency records"):
        old = IdempotencyRecord.created_at < func.now() - idempotency.KEPT
        delete_in_batches(sessions, IdempotencyRecord, old)


def _delete_unnamed(sessions: sessionmaker[Session], store: ObjectStore, job_id: str, *prefixes: str) -> None:
    """Delete the job's objects under these prefixes, except the objects that rows need."""
    with sessions() as session:
        named = tuple(named_objects(session, [job_id]))
    for prefix in prefixes:
        for key in store.list(prefix):
            if not key.startswith(named):
                store.delete(key)


def _clean_up_after_trainers(sessions: sessionmaker[Session], store: ObjectStore, job_id: str) -> None:
    """Delete what trainers of the job have uploaded and no row needs, also unfinished writes."""
    prefixes = checkpoints_prefix(job_id), adapters_prefix(job_id), results_prefix(job_id)
    for prefix in prefixes:
        store.abort_writes(prefix)
    _delete_unnamed(sessions, store, job_id, *prefixes)


def _mark_cleaned(
    session: Session,
    table: type[Job | Upload | Adapter | File | Task],
    row_id: str,
    *conditions: ColumnElement[bool],
    **changes: object,
) -> None:
    """Write that nothing of the row is left to remove, so that the next round passes over it."""
    reached("objects.removed")
    row = update(table).where(table.id == row_id, *conditions)
    session.execute(row.values(cleaned_at=func.now(), **changes))


def _jobs_with_resume_checkpoints(sessions: sessionmaker[Session]) -> list[str]:
    """Return the ended jobs that have checkpoints to remove."""
    query = (
        select(Checkpoint.job_id)
        .join(Job, Job.id == Checkpoint.job_id)
        .where(Job.status.in_(ENDED), ~Checkpoint.listed)
        .distinct()
    )
    with sessions() as session:
        return list(session.scalars(query))


def _jobs_to_clean(
    sessions: sessionmaker[Session],
    since: InstrumentedAttribute[datetime | None],
    *conditions: ColumnElement[bool],
) -> list[str]:
    """Return the jobs that are not cleaned yet, and for which GRACE has passed since the time in `since`."""
    to_clean = Job.finished_at.is_not(None) & Job.cleaned_at.is_(None)  # the condition of the partial index
    with sessions() as session:
        return list(session.scalars(select(Job.id).where(to_clean, since < func.now() - GRACE, *conditions)))


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
