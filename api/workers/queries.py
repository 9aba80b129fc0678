"""Reads of workers, of the jobs that they hold, and of the jobs that wait."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.tables import Claim, Job, Worker


class Held(NamedTuple):
    job: Job
    claim: Claim


class Waiting(NamedTuple):
    devices: int
    all: int
    own: int


def workers(session: Session) -> Sequence[Worker]:
    """Return the workers that are there, the oldest first."""
    query = select(Worker).where(Worker.expires_at > func.now()).order_by(Worker.started_at, Worker.owner)
    return session.scalars(query).all()


def held_jobs(session: Session, project_id: str) -> list[Held]:
    """Return the project's jobs that a worker holds, each with its claim."""
    query = (
        select(Job, Claim)
        .join(Claim, Claim.job_id == Job.id)
        .where(Claim.ended_at.is_(None), Job.project_id == project_id)
        .order_by(Job.id)
    )
    return [Held(*row) for row in session.execute(query)]


def held_counts(session: Session) -> dict[str, int]:
    """Return how many jobs each owner holds, of all projects."""
    query = (
        select(Claim.owner, func.count().label("jobs")).where(Claim.ended_at.is_(None)).group_by(Claim.owner)
    )
    return {row.owner: row.jobs for row in session.execute(query)}


def waiting_counts(session: Session, project_id: str) -> list[Waiting]:
    """Return the numbers of waiting jobs of each class of workers that has some, in ascending order."""
    own = func.count().filter(Job.project_id == project_id)
    query = select(Job.devices, func.count(), own).where(Job.status == "queued").group_by(Job.devices)
    return [Waiting(*row) for row in session.execute(query.order_by(Job.devices))]


def waiting_jobs(session: Session, project_id: str, devices: int, limit: int) -> Sequence[Job]:
    """Return the project's own waiting jobs, in the order in which workers will claim them."""
    query = select(Job).where(Job.status == "queued", Job.project_id == project_id, Job.devices == devices)
    return session.scalars(query.order_by(Job.id).limit(limit)).all()
