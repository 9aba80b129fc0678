"""Reads a job's events. The query for all listeners to streams is in `feed`."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.http.paging import fetch_page
from core.tables import Event


def sequence_of(session: Session, job_id: str, event_id: str) -> int | None:
    return session.scalar(select(Event.sequence).where(Event.job_id == job_id, Event.id == event_id))


def page(
    session: Session, job_id: str, *, after: int | None, limit: int, type: str | None = None
) -> tuple[list[Event], bool]:
    """Return the events before the sequence `after`, newest first, and whether more follow."""
    query = select(Event).where(Event.job_id == job_id)
    if type is not None:
        query = query.where(Event.type == type)
    rows, has_more = fetch_page(session, query, Event.sequence, after=after, limit=limit)
    return [event for (event,) in rows], has_more
