"""Passes new events of jobs on to all listeners in this process, with one query at a time for all of them.

A listener holds no database connection and no thread while it waits. The feed asks the database again and
again, and does not wait for notifications. This works with any number of API processes, and needs no
connection of its own. Workers write events twice a second. The feed asks just as often, so it delays no event
for long.

A listener's cursor is the `sequence` of its last event. No event is missed: an event with a smaller
`sequence` could come later only if two transactions wrote events of one job at once, and the locks in
`core.jobs.lifecycle` prevent this.

Events wait in memory until a listener's client has taken them. What one listener gets at once is limited, and
what all of them have not sent yet. Beyond that, listeners wait, those that were told last behind the others.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple
from weakref import WeakSet

import structlog
from sqlalchemy import BigInteger, Select, TableValuedAlias, Text, cast, func, literal, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, aliased, sessionmaker
from starlette.concurrency import run_in_threadpool

from api.jobs.events.bounded import Limits, admitted, next_events
from core.statuses import ENDED
from core.tables import Event, Job

LOOK_SECONDS = 0.5
LOOK_SHARE = 0.25  # of the time, at most: with very many listeners, the feed looks less often
AT_ONCE = Limits(events=200, bytes=256 * 1024)  # for one listener
MOST_BYTES = 64 * 1024**2  # of events that listeners have been told and have not sent yet

log = structlog.get_logger()


class Cursor(NamedTuple):
    """How far a listener has read: the `sequence` of its last event, or 0 before the first one."""

    job_id: str
    sequence: int


@dataclass(frozen=True, eq=False)
class News:
    """The next events, and their bytes. `over` is true if no event will follow them."""

    events: Sequence[Event]
    over: bool
    bytes: int = 0


class EventFeed:
    """Gives new events to listeners. It reads the database only while someone listens."""

    def __init__(
        self,
        sessions: sessionmaker[Session],
        at_once: Limits = AT_ONCE,
        most_bytes: int = MOST_BYTES,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._sessions = sessions
        self._at_once, self._most_bytes, self._look_seconds = at_once, most_bytes, look_seconds
        self._listeners: dict[Cursor, set[asyncio.Future[News]]] = {}
        self._unsent: WeakSet[News] = WeakSet()  # until no listener holds them any more
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    async def after(self, cursor: Cursor) -> News:
        """Wait for events after `cursor`, and return them. Keep them no longer than it takes to send them."""
        if self._closed:
            return News((), over=True)
        future: asyncio.Future[News] = asyncio.get_running_loop().create_future()
        listeners = self._listeners.setdefault(cursor, set())
        listeners.add(future)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            return await future
        finally:
            listeners.discard(future)

    def close(self) -> None:
        """Tell all listeners that no event will follow, and accept no listener any more."""
        self._closed = True
        for cursor in list(self._listeners):
            self._tell(cursor, News((), over=True))

    async def _look(self) -> None:
        while cursors := [cursor for cursor, listeners in self._listeners.items() if listeners]:
            began = time.monotonic()
            try:
                await self._look_at(await run_in_threadpool(read_changed, self._sessions, cursors))
            except SQLAlchemyError as error:
                log.warning("events_not_read", error=str(error))
            self._listeners = {cursor: left for cursor, left in self._listeners.items() if left}
            took = time.monotonic() - began
            await asyncio.sleep(max(self._look_seconds, took / LOOK_SHARE - took))

    async def _look_at(self, cursors: Sequence[Cursor]) -> None:
        """Tell the listeners at these cursors their news, as long as these fit into `most_bytes`."""
        while cursors and (count := self._room() // self._at_once.bytes) > 0:
            asked, cursors = cursors[:count], cursors[count:]
            read = await run_in_threadpool(read_news, self._sessions, asked, self._at_once)
            for cursor, news in read.items():
                self._unsent.add(news)
                self._tell(cursor, news)

    def _room(self) -> int:
        return self._most_bytes - sum(news.bytes for news in self._unsent)

    def _tell(self, cursor: Cursor, news: News) -> None:
        for future in self._listeners.pop(cursor, ()):
            if not future.done():
                future.set_result(news)


def read_changed(sessions: sessionmaker[Session], cursors: Sequence[Cursor]) -> list[Cursor]:
    """Return the cursors at which there are news. Most of thousands of listeners wait at a silent job."""
    with sessions() as session:
        return [Cursor(*found) for found in session.execute(changed(cursors))]


def changed(cursors: Sequence[Cursor]) -> Select[str, int]:
    cursor = _table_of(cursors)
    newer = select(literal(1)).where(Event.job_id == cursor.c.job_id, Event.sequence > cursor.c.sequence)
    is_over = select(literal(1)).where(Job.id == cursor.c.job_id, Job.status.in_(ENDED))
    return select(cursor.c.job_id, cursor.c.sequence).where(newer.exists() | is_over.exists())


def _table_of(cursors: Sequence[Cursor]) -> TableValuedAlias:
    job_ids, sequences = zip(*cursors, strict=True)
    asked = func.unnest(cast(job_ids, ARRAY(Text)), cast(sequences, ARRAY(BigInteger)))
    return asked.table_valued("job_id", "sequence").render_derived("cursor")


def read_news(
    sessions: sessionmaker[Session], cursors: Sequence[Cursor], at_once: Limits
) -> dict[Cursor, News]:
    """Return the news of the cursors at which there are any, for each cursor within the limits `at_once`."""
    with sessions() as session:
        rows = session.execute(news_of(cursors, at_once)).all()
    found = {}
    for (cursor, status), group in groupby(rows, key=lambda row: (Cursor(row[0], row[1]), row[2])):
        read = [(event, number, total) for *_, event, number, total in group if event is not None]
        events, more = admitted(read, at_once)
        over = status in ENDED and not more
        if events or over:
            found[cursor] = News(events, over, read[len(events) - 1][2] if events else 0)
    return found


def news_of(cursors: Sequence[Cursor], at_once: Limits = AT_ONCE) -> Select[*tuple[Any, ...]]:
    """Return the query of the jobs' statuses and next events, for `read_news`.

    It is one statement, so that it sees one state of the database: if it sees the end of a job, it also sees
    the job's last event.
    """
    cursor = _table_of(cursors)
    reached = next_events(cursor, at_once)
    event = aliased(Event, reached)
    of_cursor = (reached.c.job_id == cursor.c.job_id) & (reached.c.cursor == cursor.c.sequence)
    return (
        select(cursor.c.job_id, cursor.c.sequence, Job.status, event, reached.c.number, reached.c.total)
        .join(Job, Job.id == cursor.c.job_id)
        .outerjoin(reached, of_cursor)
        .order_by(cursor.c.job_id, cursor.c.sequence, reached.c.number)
    )
