"""Limits what one read of events returns, in number and in bytes: one event may have 96,000 letters.

Postgres goes from one event to the next by the index, and stops behind the first event that exceeds the
limits. So it reads hardly more than it returns.
"""

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import (
    CTE,
    ColumnElement,
    FromClause,
    Integer,
    Select,
    Text,
    cast,
    func,
    literal,
    select,
    true,
)

from core.tables import Event

ROW_BYTES = 200  # about what an event has beside its message and its data
EVENT = Event.__table__.columns
SIZE = (
    func.octet_length(Event.message)
    + func.coalesce(func.octet_length(cast(Event.data, Text)), 0)
    + literal(ROW_BYTES, Integer)
)


class Limits(NamedTuple):
    """The most events, and the most bytes of several events. A single event may be larger."""

    events: int
    bytes: int

    def admits(self, number: int, total: int) -> bool:
        """Return whether the event `number`, with which the bytes add up to `total`, is within the limits."""
        return number <= self.events and (number == 1 or total <= self.bytes)


def next_events(
    cursors: FromClause, limits: Limits, *, type: str | None = None, newest_first: bool = False
) -> CTE:
    """Return the events of jobs after cursors in their logs, from each one until the limits are exceeded.

    A cursor has a `job_id` and a `sequence`, which is `cursor` in the result. The result has the columns of
    the events, the `number` of the event, and `total`, the sum of the bytes up to it. The first event that
    the limits do not admit is the last one: it tells that more events follow.
    """

    def event_after(job_id: ColumnElement[str], sequence: ColumnElement[int]) -> Select[*tuple[object, ...]]:
        beyond = Event.sequence < sequence if newest_first else Event.sequence > sequence
        event = select(*EVENT, SIZE.label("size")).where(Event.job_id == job_id, beyond)
        if type is not None:
            event = event.where(Event.type == type)
        return event.order_by(Event.sequence.desc() if newest_first else Event.sequence).limit(1)

    first = event_after(cursors.c.job_id, cursors.c.sequence).lateral("first")
    reached = (
        select(
            cursors.c.sequence.label("cursor"),
            *(first.c[column.name] for column in EVENT),
            literal(1, Integer).label("number"),
            first.c.size.label("total"),
        )
        .select_from(cursors.join(first, true()))
        .cte("reached", recursive=True)
    )
    following = event_after(reached.c.job_id, reached.c.sequence).lateral("following")
    within = (reached.c.number <= limits.events) & (
        (reached.c.number == 1) | (reached.c.total <= limits.bytes)
    )
    return reached.union_all(
        select(
            reached.c.cursor,
            *(following.c[column.name] for column in EVENT),
            reached.c.number + 1,
            reached.c.total + following.c.size,
        )
        .select_from(reached.join(following, true()))
        .where(within)
    )


def admitted(rows: Iterable[tuple[Event, int, int]], limits: Limits) -> tuple[list[Event], bool]:
    """Return those of the `next_events` after one cursor that the limits admit, and whether more follow."""
    read = list(rows)
    events = [event for event, number, total in read if limits.admits(number, total)]
    return events, len(events) < len(read)
