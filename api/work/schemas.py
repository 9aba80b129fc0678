"""A task of any kind, as a client reads it."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, Field

from api.schemas import Identified, UnixSeconds, from_row
from core.tables import Task

TaskStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class TaskError(BaseModel):
    """Why a task, such as an export, has failed."""

    code: str
    message: str
    param: str | None


class TaskProgress(BaseModel):
    """What is being done of a task, and how much of it is done."""

    phase: Annotated[str | None, Field(description="What is being done; null if nothing is")]
    percent: Annotated[float, Field(description="How much is done, from 0 to 100")]


class Row(NamedTuple):
    """What a view shows: a task, the values of the resource's own columns, and the dashboard's address."""

    task: Task
    columns: Sequence[Any] = ()
    dashboard: str | None = None


class TaskObject(Identified):
    """A task as a client reads it: the fields of all kinds. Each kind adds its own."""

    created_at: UnixSeconds
    status: TaskStatus
    progress: TaskProgress
    error: TaskError | None
    started_at: UnixSeconds | None
    finished_at: UnixSeconds | None

    @classmethod
    def of(cls, row: Row) -> Self:
        """Return the task of the row as a client reads it."""
        task = row.task
        progress = TaskProgress(phase=task.phase, percent=round(100 * task.done, 1))
        return from_row(cls, task, **{"progress": progress, **cls.own_fields(row)})

    @classmethod
    def own_fields(cls, row: Row) -> dict[str, Any]:  # noqa: ARG003 - of the subclasses
        """Return the fields that only this kind has, and those that it shows in its own way."""
        return {}


class TaskDeleted(BaseModel):
    """The answer to the deletion of a task."""

    @classmethod
    def of(cls, task_id: str) -> Self:
        return cls.model_validate({"id": task_id})
