"""What is left of jobs, uploads, adapters, files and deliveries that have ended, whoever ended them.

The database says first that something is gone, and its bytes go later: whatever dies in between, they are
found again. No function raises, and each may run in several processes at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

import structlog
from sqlalchemy import ColumnElement, delete, func, or_, select, update
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

GRACE = timedelta(minutes=10)  # for what began before an upload or a job ended, or a file expired
DELIVERIES_KEPT = timedelta(days=30)  # after their last attempt

UPLOADED_BY_TRAINERS = (checkpoints_prefix, adapters_prefix, results_prefix)
OF_A_JOB = (Tracker, Candidate, CandidateMetric, Metric, Event, Checkpoint)  # that go with it

log = structlog.get_logger()


def remove_resume_checkpoints(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Of ended jobs, keep the checkpoints that the API lists: nobody resumes from the others."""
    with _or_next_time("checkpoints"):
        for job_id in _ended_jobs(sessions):
            with _or_next_time(f"checkpoints of {job_id}"):
                _remove_objects(sessions, store, job_id)
                with sessions.begin() as session:
                    mine = (Checkpoint.job_id == job_id) & ~Checkpoint.listed
                    session.execute(delete(Checkpoint).where(mine))


def remove_orphans(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Of jobs that ended a while ago, what no row names: uploads whose trainer was lost, or cancelled, before
    it could say so."""
    with _or_next_time("orphans"):
        for job_id in _jobs_to_clean(sessions, Job.finished_at, Job.deleted_at.is_(None)):
            with _or_next_time(f"orphans of {job_id}"):
                named = _named_objects(sessions, job_id)
                for prefix in UPLOADED_BY_TRAINERS:
                    for key in store.list(prefix(job_id)):
                        if not key.startswith(named):
                            store.delete(key)
                with sessions.begin() as session:
                    mine = (Job.id == job_id) & Job.deleted_at.is_(None)
                    session.execute(update(Job).where(mine).values(cleaned_at=func.now()))


def remove_deleted_jobs(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """What belonged to them, once no trainer can still be uploading a checkpoint of one.

    The row stays, without its owner's words: adapter, usage and audit log go by it.
    """
    with _or_next_time("jobs"):
        for job_id in _jobs_to_clean(sessions, Job.deleted_at):
            with _or_next_time(job_id):
                store.delete_prefix(checkpoints_prefix(job_id))
                for table in OF_A_JOB:
                    with sessions.begin() as session:  # each by itself: metrics of a search may be millions
                        session.execute(delete(table).where(table.job_id == job_id))
                with sessions.begin() as session:
                    shared = CheckpointPermission
                    session.execute(delete(shared).where(shared.job_id == job_id, shared.step.is_not(None)))
                    cleaned = update(Job).where(Job.id == job_id)
                    session.execute(
                        cleaned.values(cleaned_at=func.now(), client_metadata=None, integrations=[])
                    )


def remove_parts(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Of uploads that have ended, or whose time is over, keep the file that they became."""
    with _or_next_time("parts"):
        _expire_uploads(sessions)
        for upload_id, file_key in _ended_uploads(sessions):
            with _or_next_time(f"parts of {upload_id}"):
                prefix = upload_prefix(upload_id)
                store.abort_writes(prefix)
                for key in store.list(prefix):
                    if key != file_key:
                        store.delete(key)
                with sessions.begin() as session:
                    session.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))
                    ended = update(Upload).where(Upload.id == upload_id)
                    session.execute(ended.values(cleaned_at=func.now()))


def remove_deleted_adapters(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    with _or_next_time("adapters"):
        for adapter_id, prefix in _deleted_adapters(sessions):
            with _or_next_time(adapter_id):
                store.delete_prefix(prefix)
                with sessions.begin() as session:
                    deleted = update(Adapter).where(Adapter.id == adapter_id)
                    session.execute(deleted.values(cleaned_at=func.now()))


def remove_expired_files(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Files that have expired, unless a job that has not ended reads them: no new one can name them."""
    with _or_next_time("files"):
        for file_id, project_id, key in _expired_files(sessions):
            with _or_next_time(file_id):
                store.delete(key)
                with sessions.begin() as session:
                    there = (File.id == file_id) & File.deleted_at.is_(None)
                    expired = update(File).where(there).values(deleted_at=func.now()).returning(File.id)
                    if session.scalar(expired) is not None:
                        audit.record(session, OPERATOR.on(project_id), "file.expired", file_id)


def remove_old_deliveries(sessions: sessionmaker[Session], store: ObjectStore) -> None:  # noqa: ARG001
    """Of webhooks, those that have ended long ago, and with them the way to send them again."""
    with _or_next_time("deliveries"), sessions.begin() as session:
        oldest = func.now() - DELIVERIES_KEPT
        tried_at = func.coalesce(WebhookDelivery.last_attempt_at, WebhookDelivery.created_at)
        session.execute(
            delete(WebhookDelivery).where(WebhookDelivery.next_attempt_at.is_(None), tried_at < oldest)
        )


@contextmanager
def _or_next_time(what: str) -> Iterator[None]:
    """What cannot be removed now is found again, and keeps nothing else."""
    try:
        yield
    except (SQLAlchemyError, *STORE_ERRORS) as error:
        log.warning("not_removed", what=what, error=str(error))


def _ended_jobs(sessions: sessionmaker[Session]) -> list[str]:
    """Those with something to remove."""
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
    """Of which GRACE is over, counted from the moment in `since`."""
    to_clean = Job.finished_at.is_not(None) & Job.cleaned_at.is_(None)  # as the index has it
    query = select(Job.id).where(to_clean, since < func.now() - GRACE, *conditions)
    with sessions() as session:
        return list(session.scalars(query))


def _named_objects(sessions: sessionmaker[Session], job_id: str) -> tuple[str, ...]:
    """Prefixes, and the result's key."""
    queries = (
        select(Checkpoint.object_prefix).where(Checkpoint.job_id == job_id),
        select(Adapter.object_prefix).where(Adapter.job_id == job_id),
        select(File.object_key).join(Job, Job.result_file_id == File.id).where(Job.id == job_id),
    )
    with sessions() as session:
        return tuple(named for query in queries for named in session.scalars(query))


def _remove_objects(sessions: sessionmaker[Session], store: ObjectStore, job_id: str) -> None:
    """All but those of checkpoints that are kept: also what a lost trainer uploaded and no row names."""
    with sessions() as session:
        query = select(Checkpoint.object_prefix).where(Checkpoint.job_id == job_id, Checkpoint.listed)
        kept = tuple(session.scalars(query))
    for key in store.list(checkpoints_prefix(job_id)):
        if not key.startswith(kept):
            store.delete(key)


def _expire_uploads(sessions: sessionmaker[Session]) -> None:
    overdue = (Upload.status == "pending") & (Upload.expires_at < func.now() - GRACE)
    expired = update(Upload).where(Upload.cleaned_at.is_(None), overdue)
    with sessions.begin() as session:
        session.execute(expired.values(status="expired", ended_at=Upload.expires_at))


def _ended_uploads(sessions: sessionmaker[Session]) -> list[tuple[str, str | None]]:
    """With the key of the file that each became, if it did."""
    query = (
        select(Upload.id, File.object_key)
        .outerjoin(File, File.id == Upload.file_id)
        .where(Upload.cleaned_at.is_(None), Upload.ended_at < func.now() - GRACE)
    )
    with sessions() as session:
        return [(upload_id, key) for upload_id, key in session.execute(query)]


def _deleted_adapters(sessions: sessionmaker[Session]) -> list[tuple[str, str]]:
    query = select(Adapter.id, Adapter.object_prefix).where(
        Adapter.deleted_at.is_not(None), Adapter.cleaned_at.is_(None)
    )
    with sessions() as session:
        return [(adapter_id, prefix) for adapter_id, prefix in session.execute(query)]


def _expired_files(sessions: sessionmaker[Session]) -> list[tuple[str, str, str]]:
    """With the project and the key of each."""
    reads_it = or_(Job.training_file_id == File.id, Job.validation_file_id == File.id)
    in_use = select(Job.id).where(reads_it, Job.status.not_in(ENDED)).exists()
    query = select(File.id, File.project_id, File.object_key).where(
        File.expires_at < func.now() - GRACE, File.deleted_at.is_(None), ~in_use
    )
    with sessions() as session:
        return [(file_id, project_id, key) for file_id, project_id, key in session.execute(query)]
