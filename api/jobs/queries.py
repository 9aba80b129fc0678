"""Reads of jobs and of what belongs to them. Those that start from a job's id take the project."""

from typing import Any, NamedTuple

from sqlalchemy import Select, case, select
from sqlalchemy.orm import Session

from api.paging import fetch_page
from core import queue
from core.models import Adapter, Checkpoint, Event, Job, Metric, Run


class JobRow(NamedTuple):
    """A job with its latest run, its adapter's id, and its place in the queue, counted from 1."""

    job: Job
    run: Run | None
    adapter_id: str | None
    queue_position: int | None


def find(session: Session, project_id: str, job_id: str) -> Job | None:
    return session.scalars(select(Job).where(Job.id == job_id, Job.project_id == project_id)).one_or_none()


def find_row(session: Session, project_id: str, job_id: str) -> JobRow | None:
    found = session.execute(_rows(project_id).where(Job.id == job_id)).one_or_none()
    return JobRow(*found) if found else None


def page(
    session: Session,
    project_id: str,
    metadata: dict[str, str] | None,
    without_metadata: bool,
    *,
    after: str | None,
    limit: int,
) -> tuple[list[JobRow], bool]:
    query = _rows(project_id)
    if metadata:
        query = query.where(Job.client_metadata.contains(metadata))
    if without_metadata:
        query = query.where(Job.client_metadata.is_(None))
    rows, has_more = fetch_page(session, query, Job.id, after=after, limit=limit)
    return [JobRow(*row) for row in rows], has_more


def event_sequence(session: Session, job_id: str, event_id: str) -> int | None:
    return session.scalar(select(Event.sequence).where(Event.job_id == job_id, Event.id == event_id))


def events(session: Session, job_id: str, *, after: int | None, limit: int) -> tuple[list[Event], bool]:
    query = select(Event).where(Event.job_id == job_id)
    rows, has_more = fetch_page(session, query, Event.sequence, after=after, limit=limit)
    return [event for (event,) in rows], has_more


def checkpoint_step(session: Session, job_id: str, checkpoint_id: str) -> int | None:
    return session.scalar(
        select(Checkpoint.step).where(Checkpoint.job_id == job_id, Checkpoint.id == checkpoint_id)
    )


def checkpoints(
    session: Session, job_id: str, *, after: int | None, limit: int
) -> tuple[list[Checkpoint], bool]:
    query = select(Checkpoint).where(Checkpoint.job_id == job_id, Checkpoint.ends_epoch)
    rows, has_more = fetch_page(session, query, Checkpoint.step, after=after, limit=limit)
    return [checkpoint for (checkpoint,) in rows], has_more


def metrics(session: Session, job_id: str, *, after: int, limit: int) -> tuple[list[Metric], bool]:
    query = select(Metric).where(Metric.job_id == job_id)
    rows, has_more = fetch_page(session, query, Metric.step, after=after, limit=limit, newest_first=False)
    return [metric for (metric,) in rows], has_more


def _rows(project_id: str) -> Select[*tuple[Any, ...]]:
    # Materialised, it is computed once for a page, and not at all where no job waits
    places = queue.places().cte("places").prefix_with("MATERIALIZED")
    place = select(places.c.place).where(places.c.id == Job.id).correlate(Job).scalar_subquery()
    return (
        select(Job, Run, Adapter.id, case((Job.status == "queued", place)))
        .outerjoin(Run, (Run.job_id == Job.id) & (Run.fence == Job.fence))
        .outerjoin(Adapter, Adapter.job_id == Job.id)
        .where(Job.project_id == project_id)
    )
