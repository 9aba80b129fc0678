"""Schemas that the features share."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

from core.tables import Task

UnixSeconds = Annotated[int, Field(description="Unix seconds")]


class Identified(BaseModel):
    id: str


Item = TypeVar("Item", bound=Identified)


def unix_seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def seconds_or_none(moment: datetime | None) -> int | None:
    return unix_seconds(moment) if moment else None


TaskStatus = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class TaskError(BaseModel):
    """Why a task, such as an export, has failed."""

    code: str
    message: str
    param: str | None

    @classmethod
    def of(cls, task: Task) -> "TaskError | None":
        return cls(**task.error) if task.error else None


class TaskProgress(BaseModel):
    """What is being done of a task, and how much of it is done."""

    phase: Annotated[str | None, Field(description="What is being done; null if nothing is")]
    percent: Annotated[float, Field(description="How much is done, from 0 to 100")]

    @classmethod
    def of(cls, task: Task) -> "TaskProgress":
        return cls(phase=task.phase, percent=round(100 * task.done, 1))


def task_fields(task: Task) -> dict[str, Any]:
    """Return the fields in which clients read all kinds of tasks alike."""
    return {
        "id": task.id,
        "created_at": unix_seconds(task.created_at),
        "status": task.status,
        "progress": TaskProgress.of(task),
        "error": TaskError.of(task),
        "started_at": seconds_or_none(task.started_at),
        "finished_at": seconds_or_none(task.finished_at),
    }


class Page(BaseModel, Generic[Item]):
    """A page of a list, in OpenAI's form.

    If `has_more` is true, ask for the next page with `after`, set to `last_id`.
    """

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: Annotated[bool, Field(description="True if more items follow this page")]
    first_id: Annotated[str | None, Field(description="Null if the page is empty")]
    last_id: Annotated[
        str | None, Field(description="Send it as `after` to get the next page. Null if the page is empty")
    ]

    @classmethod
    def of(cls, data: list[Item], has_more: bool) -> "Page[Item]":
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, has_more=has_more, first_id=first, last_id=last)
