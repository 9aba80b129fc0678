"""Jobs' events for all who listen in this process: one query at a time, whatever their number.

A listener holds no database connection and no thread while it waits. The database is asked, rather than
telling, since that works alike with any number of API processes and needs no connection of its own. Workers
write events twice a second, so asking as often delays none for long.

An event with a smaller `sequence` could still be on its way only if two transactions wrote events of one job
at once, which the lifecycle's locks rule out. So a listener's place is a number, and no event is missed.
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
MOST_AT_ONCE = 200  # events of one listener

log = structlog.get_logger()


class Place(NamedTuple):
    """How far a listener has read: the `sequence` of its last event, 0 before the first one."""

    job_id: str
    sequence: int


class News(NamedTuple):
    """The next events, and whether nothing will follow them."""

    events: Sequence[Event]
    over: bool


class EventFeed:
    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._listeners: dict[Place, set[asyncio.Future[News]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def after(self, place: Place) -> News:
        """What follows `place`, once there is something."""
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
        """Whether the caller's key is live. While the database is away it counts as such: nothing is told."""
        try:
            return await run_in_threadpool(self._is_live, caller)
        except SQLAlchemyError as error:
            log.warning("key_not_read", error=str(error))
            return True

    def close(self) -> None:
        """End all listening, for good."""
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
    """The news of those places that have any."""
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
    """One statement, so one moment: where it sees that a job has ended, it sees the last event as well."""
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
