"""Reads of workers, of what they hold, and of what waits."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.tables import Job, Run, Worker


class Held(NamedTuple):
    job: Job
    run: Run


class Waiting(NamedTuple):
    devices: int
    all: int
    own: int


def workers(session: Session) -> Sequence[Worker]:
    """Those that are there, the oldest first."""
    query = select(Worker).where(Worker.expires_at > func.now()).order_by(Worker.started_at, Worker.owner)
    return session.scalars(query).all()


def held_jobs(session: Session, project_id: str) -> list[Held]:
    """The project's jobs that are held by anybody."""
    query = (
        select(Job, Run)
        .join(Run, Run.job_id == Job.id)
        .where(Run.ended_at.is_(None), Job.project_id == project_id)
        .order_by(Job.id)
    )
    return [Held(*row) for row in session.execute(query)]


def held_counts(session: Session) -> dict[str, int]:
    """How many jobs of all projects each owner holds."""
    query = select(Run.owner, func.count().label("jobs")).where(Run.ended_at.is_(None)).group_by(Run.owner)
    return {row.owner: row.jobs for row in session.execute(query)}


def waiting_counts(session: Session, project_id: str) -> list[Waiting]:
    """Of each class in which a job waits, in ascending order."""
    own = func.count().filter(Job.project_id == project_id)
    query = select(Job.devices, func.count(), own).where(Job.status == "queued").group_by(Job.devices)
    return [Waiting(*row) for row in session.execute(query.order_by(Job.devices))]


def waiting_jobs(session: Session, project_id: str, devices: int, limit: int) -> Sequence[Job]:
    """The project's own, in the order in which they will be claimed."""
    query = select(Job).where(Job.status == "queued", Job.project_id == project_id, Job.devices == devices)
    return session.scalars(query.order_by(Job.id).limit(limit)).all()
