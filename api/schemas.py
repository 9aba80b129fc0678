"""Shapes that the features share."""

from datetime import datetime
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel


class Identified(BaseModel):
    id: str


Item = TypeVar("Item", bound=Identified)


def unix_seconds(moment: datetime) -> int:
    return int(moment.timestamp())


class Page(BaseModel, Generic[Item]):
    """OpenAI's list. The next page is asked for with `after=<last_id>`."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool
    first_id: str | None
    last_id: str | None

    @classmethod
    def of(cls, data: list[Item], has_more: bool) -> "Page[Item]":
        first, last = (data[0].id, data[-1].id) if data else (None, None)
        return cls(data=data, has_more=has_more, first_id=first, last_id=last)
