"""An event of a job as a client reads it."""

from typing import Any, Literal

from api.schemas import Identified, unix_seconds
from core.tables import Event


class EventObject(Identified):
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: int
    level: str
    message: str
    type: str
    data: dict[str, Any] | None

    @classmethod
    def of(cls, event: Event) -> "EventObject":
        return cls(
            id=event.id,
            created_at=unix_seconds(event.created_at),
            level=event.level,
            message=event.message,
            type=event.type,
            data=event.data,
        )
