"""Reads a job's checkpoints. Clients see only listed checkpoints; the others only serve to resume the job."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import Checkpoint


def step_of(session: Session, job_id: str, checkpoint_id: str) -> int | None:
    return session.scalar(
        select(Checkpoint.step).where(Checkpoint.job_id == job_id, Checkpoint.id == checkpoint_id)
    )


def find(session: Session, job_id: str, checkpoint_id: str) -> Checkpoint | None:
    """Return a checkpoint that is listed."""
    query = select(Checkpoint).where(
        Checkpoint.job_id == job_id, Checkpoint.id == checkpoint_id, Checkpoint.listed
    )
    return session.scalars(query).one_or_none()


def page(session: Session, job_id: str, *, after: int | None, limit: int) -> tuple[list[Checkpoint], bool]:
    """Return the listed checkpoints before the step `after`, newest first, and whether more follow."""
    query = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.listed)
    rows, has_more = fetch_page(session, query, Checkpoint.step, after=after, limit=limit)
    return [checkpoint for (checkpoint,) in rows], has_more
