"""The log of a job, as events numbered in the order in which they are committed."""

from typing import Any, Literal, TypedDict, Unpack

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from core.ids import new_id
from core.strict_json import storable, storable_json
from core.tables import Event

EventType = Literal["message", "metrics", "samples"]

# The statement is built once, since every new job adds events.
EVENT = insert(Event).on_conflict_do_nothing(index_elements=[Event.id])


class EventOptions(TypedDict, total=False):
    """The options of an event. The default is the level `info`, the type `message` and no data."""

    level: Literal["info", "warn", "error"]
    type: EventType
    data: dict[str, Any] | None


def record_event(
    session: Session,
    job_id: str,
    message: str,
    event_id: str | None = None,
    **options: Unpack[EventOptions],
) -> None:
    """Append to the job's log. Two calls with the same `event_id` add one event.

    The caller has locked the job's open claim, or the job itself if no claim is open. So the events of a job
    are committed in the order of their numbers.
    """
    session.execute(EVENT, event_row(job_id, message, event_id, **options))


def record_messages(session: Session, job_id: str, *messages: str) -> None:
    """Append several messages to the job's log. It needs the same lock as `record_event`."""
    session.execute(EVENT, [event_row(job_id, message) for message in messages])


def event_row(
    job_id: str, message: str, event_id: str | None = None, **options: Unpack[EventOptions]
) -> dict[str, Any]:
    """Return the parameters of `EVENT` for one event. It needs the same lock as `record_event`."""
    which = {"id": event_id or new_id("ftevent-"), "job_id": job_id}
    defaults = {"level": "info", "type": "message", "message": storable(message)}
    return {**which, **defaults, **options, "data": storable_json(options.get("data"))}
