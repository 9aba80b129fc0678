"""Reads a job's events. The query for all listeners to streams is in `feed`."""

from sqlalchemy import BigInteger, Text, literal, select
from sqlalchemy.orm import Session, aliased

from api.http.paging import PAGE_BYTES
from api.jobs.events.bounded import Limits, admitted, next_events
from core.tables import Event

BEHIND_ALL = 2**63 - 1  # no event has such a sequence


def sequence_of(session: Session, job_id: str, event_id: str) -> int | None:
    return session.scalar(select(Event.sequence).where(Event.job_id == job_id, Event.id == event_id))


def page(
    session: Session, job_id: str, *, after: int | None, limit: int, type: str | None = None
) -> tuple[list[Event], bool]:
    """Return the events before the sequence `after`, newest first, and whether more follow.

    They are at most `limit` events, and PAGE_BYTES of several events. A single event may be larger.
    """
    limits = Limits(limit, PAGE_BYTES)
    sequence = BEHIND_ALL if after is None else after
    cursor = select(literal(job_id, Text).label("job_id"), literal(sequence, BigInteger).label("sequence"))
    reached = next_events(cursor.subquery("cursor"), limits, type=type, newest_first=True)
    query = select(aliased(Event, reached), reached.c.number, reached.c.total).order_by(reached.c.number)
    return admitted(session.execute(query), limits)
