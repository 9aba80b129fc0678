"""The report on an adapter's portability as a client reads it."""

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field

from api.schemas import UnixSeconds, unix_seconds
from core.portability.report import Prompts, RuntimeReport
from core.tables import Task


class MeasurementError(BaseModel):
    code: str
    message: str
    param: str | None


class MeasurementProgress(BaseModel):
    phase: Annotated[str | None, Field(description="What is being done; null if nothing is")]
    percent: Annotated[float, Field(description="How much is done, from 0 to 100")]


class MeasurementObject(BaseModel):
    """The newest measurement of an adapter, whether it has ended or not."""

    id: str
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    progress: MeasurementProgress
    error: MeasurementError | None
    created_at: UnixSeconds
    started_at: UnixSeconds | None
    finished_at: UnixSeconds | None

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the measurement that a task makes."""
        return cls(
            id=task.id,
            status=task.status,
            progress=MeasurementProgress(phase=task.phase, percent=round(100 * task.done, 1)),
            error=MeasurementError(**task.error) if task.error else None,
            created_at=unix_seconds(task.created_at),
            started_at=_seconds(task.started_at),
            finished_at=_seconds(task.finished_at),
        )


def _seconds(moment: datetime | None) -> int | None:
    return unix_seconds(moment) if moment else None


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
