"""Schemas that the features share."""

from datetime import datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, Field


def unix_seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _in_seconds(given: Any) -> Any:
    return unix_seconds(given) if isinstance(given, datetime) else given


Seconds = Annotated[int, BeforeValidator(_in_seconds)]
UnixSeconds = Annotated[Seconds, Field(description="Unix seconds")]


class Identified(BaseModel):
    id: str


class Deleted(Identified):
    object: str
    deleted: Literal[True] = True


Item = TypeVar("Item", bound=Identified)


View = TypeVar("View", bound=BaseModel)


def from_row(view: type[View], row: object, **others: Any) -> View:
    """Return what a client reads of a row.

    A field has the value of the row's column with the same name, unless `others` has its value. A field that
    has neither keeps its default.
    """
    names = (name for name in view.model_fields if name not in others and hasattr(row, name))
    return view(**{name: getattr(row, name) for name in names}, **others)


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
