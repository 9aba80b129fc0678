"""What jobs leave behind once they have ended, whoever ended them."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.models import Checkpoint, Job
from core.statuses import ENDED
from core.storage import STORE_ERRORS, ObjectStore, checkpoints_prefix

log = structlog.get_logger()


def remove_resume_checkpoints(sessions: sessionmaker[Session], store: ObjectStore) -> None:
    """Of ended jobs, keep the checkpoints of epochs, which the API lists; nobody can resume from the others.

    Raises nothing, and may run in several processes at once.
    """
    with _or_next_time("checkpoints"):
        for job_id in _ended_jobs(sessions):
            with _or_next_time(f"checkpoints of {job_id}"):
                _remove_objects(sessions, store, job_id)
                with sessions.begin() as session:
                    mine = (Checkpoint.job_id == job_id) & ~Checkpoint.ends_epoch
                    session.execute(delete(Checkpoint).where(mine))


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
        .where(Job.status.in_(ENDED), ~Checkpoint.ends_epoch)
        .distinct()
    )
    with sessions() as session:
        return list(session.scalars(query))


def _remove_objects(sessions: sessionmaker[Session], store: ObjectStore, job_id: str) -> None:
    """All but those of checkpoints that are kept: also what a lost trainer uploaded and no row names."""
    with sessions() as session:
        query = select(Checkpoint.object_prefix).where(Checkpoint.job_id == job_id, Checkpoint.ends_epoch)
        kept = tuple(session.scalars(query))
    for key in store.list(checkpoints_prefix(job_id)):
        if not key.startswith(kept):
            store.delete(key)
