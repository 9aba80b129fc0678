"""An event of a job as a client reads it."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas import Identified, UnixSeconds


class EventObject(Identified):
    object: Literal["fine_tuning.job.event"] = "fine_tuning.job.event"
    created_at: UnixSeconds
    level: Annotated[str, Field(description="`info`, `warn` or `error`")]
    message: str
    type: Annotated[str, Field(description="`message`, `metrics` or `samples`")]
    data: Annotated[
        dict[str, Any] | None,
        Field(description="The values of an event of type `metrics` or `samples`, or details of a message"),
    ]
