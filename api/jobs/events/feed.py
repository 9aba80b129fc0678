"""Passes new events of jobs on to all listeners in this process, with one query at a time for all of them.

A listener holds no database connection and no thread while it waits. The feed asks the database again and
again, and does not wait for notifications. This works with any number of API processes, and needs no
connection of its own. Workers write events twice a second. The feed asks just as often, so it delays no event
for long.

A listener's place is the `sequence` of its last event. No event is missed: an event with a smaller `sequence`
could come later only if two transactions wrote events of one job at once, and the locks in
`core.jobs.lifecycle` prevent this.
"""

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import structlog
from sqlalchemy import BigInteger, Select, Text, cast, func, select, true
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, aliased, sessionmaker
from starlette.concurrency import run_in_threadpool

from core.access import keys
from core.access.audit import Actor
from core.statuses import ENDED
from core.tables import Event, Job

LOOK_SECONDS = 0.5
MOST_AT_ONCE = 200  # events for one listener

log = structlog.get_logger()


class Place(NamedTuple):
    """How far a listener has read: the `sequence` of its last event, or 0 before the first one."""

    job_id: str
    sequence: int


class News(NamedTuple):
    """The next events. `over` is true if no event will follow them."""

    events: Sequence[Event]
    over: bool


class EventFeed:
    """Gives new events to listeners. It reads the database only while someone listens."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._listeners: dict[Place, set[asyncio.Future[News]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def after(self, place: Place) -> News:
        """Wait for events after `place`, and return them."""
        if self._closed:
            return News((), over=True)
        future: asyncio.Future[News] = asyncio.get_running_loop().create_future()
        listeners = self._listeners.setdefault(place, set())
        listeners.add(future)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            return await future
        finally:
            listeners.discard(future)

    async def admits(self, caller: Actor) -> bool:
        """Return whether the caller's key is live.

        A key counts as live while the database cannot be reached: no event is sent in that time anyway.
        """
        try:
            return await run_in_threadpool(self._is_live, caller)
        except SQLAlchemyError as error:
            log.warning("key_not_read", error=str(error))
            return True

    def close(self) -> None:
        """Tell all listeners that no event will follow, and accept no listener any more."""
        self._closed = True
        for place in list(self._listeners):
            self._tell(place, News((), over=True))

    async def _look(self) -> None:
        while places := [place for place, listeners in self._listeners.items() if listeners]:
            try:
                for place, news in (await run_in_threadpool(read_news, self._sessions, places)).items():
                    self._tell(place, news)
            except SQLAlchemyError as error:
                log.warning("events_not_read", error=str(error))
            self._listeners = {place: left for place, left in self._listeners.items() if left}
            await asyncio.sleep(LOOK_SECONDS)

    def _is_live(self, caller: Actor) -> bool:
        with self._sessions() as session:
            return keys.is_live(session, caller.key_id)

    def _tell(self, place: Place, news: News) -> None:
        for future in self._listeners.pop(place, ()):
            if not future.done():
                future.set_result(news)


def read_news(sessions: sessionmaker[Session], places: Sequence[Place]) -> dict[Place, News]:
    """Return the news of the places at which there are any."""
    with sessions() as session:
        rows = session.execute(news_of(places)).all()
    found = {}
    for (place, status), group in groupby(rows, key=lambda row: (Place(row[0], row[1]), row[2])):
        events = [event for *_, event in group if event is not None]
        over = status in ENDED and len(events) < MOST_AT_ONCE
        if events or over:
            found[place] = News(events, over)
    return found


def news_of(places: Sequence[Place]) -> Select[str, int, str, Event | None]:
    """Return the query of the jobs' statuses and next events, for `read_news`.

    It is one statement, so that it sees one state of the database: if it sees the end of a job, it also sees
    the job's last event.
    """
    job_ids, sequences = zip(*places, strict=True)
    asked = func.unnest(cast(job_ids, ARRAY(Text)), cast(sequences, ARRAY(BigInteger)))
    place = asked.table_valued("job_id", "sequence").render_derived("place")
    later = (
        select(Event)
        .where(Event.job_id == place.c.job_id, Event.sequence > place.c.sequence)
        .order_by(Event.sequence)
        .limit(MOST_AT_ONCE)
        .lateral("later")
    )
    event = aliased(Event, later)
    return (
        select(place.c.job_id, place.c.sequence, Job.status, event)
        .join(Job, Job.id == place.c.job_id)
        .outerjoin(event, true())
        .order_by(place.c.job_id, place.c.sequence, event.sequence)
    )
