"""The report on an adapter's portability as a client reads it."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.schemas import UnixSeconds
from api.work.schemas import TaskObject
from core.portability.report import Prompts, RuntimeReport


class MeasurementObject(TaskObject):
    """The newest measurement of an adapter, whether it has ended or not."""


class PortabilityObject(BaseModel):
    """Which runtimes load an adapter, and whether they answer as our own sampler does.

    There is always a report: rules give it at once. A measurement that has succeeded takes their place for
    the runtimes that the worker has, and `measured_at` and `prompts` belong to it.
    """

    object: Literal["adapter.portability"] = "adapter.portability"
    adapter_id: str
    measured_at: Annotated[UnixSeconds | None, Field(description="Null if nothing has been measured yet")]
    prompts: Annotated[Prompts | None, Field(description="What the runtimes were asked")]
    measurement: Annotated[MeasurementObject | None, Field(description="Null if none was ever started")]
    runtimes: list[RuntimeReport]
