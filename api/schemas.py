"""Schemas that the features share."""

from datetime import datetime
from typing import Annotated, Generic, Literal, TypeVar

from pydantic import BaseModel, Field

UnixSeconds = Annotated[int, Field(description="Unix seconds")]


class Identified(BaseModel):
    id: str


Item = TypeVar("Item", bound=Identified)


def unix_seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def seconds_or_none(moment: datetime | None) -> int | None:
    return unix_seconds(moment) if moment else None


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
