"""Compositions as a client reads them."""

from typing import Annotated, Any, Literal

from pydantic import Field

from api.schemas import UnixSeconds
from api.work.schemas import Row, TaskDeleted, TaskObject
from core.compositions.requests import ComposeRequest, Composition


class CompositionObject(TaskObject):
    """A composition of adapters, and the adapter that it has made once it has succeeded.

    `request` has every default resolved. `report` has the `weights` in the order of the request's adapters,
    the `rank` of the result and the number of its `layers`. After a search it also has `trials`: the weights
    of each, with the loss of each file in nats per token, and their mean. If the search improves a share,
    they also have `scores`, that of each file, and their mean `score`. Before the end of the search, `report`
    has only the trials so far.
    """

    object: Literal["adapter.composition"] = "adapter.composition"
    base_model: str
    request: ComposeRequest
    report: dict[str, Any] | None
    adapter_id: Annotated[str | None, Field(description="Null until the composition has succeeded")]
    fine_tuned_model: Annotated[str | None, Field(description="The name of the adapter's model")]
    expires_at: Annotated[
        UnixSeconds | None, Field(description="When the composition is deleted. Its adapter stays")
    ]

    @classmethod
    def own_fields(cls, row: Row) -> dict[str, Any]:
        composition = Composition.model_validate(row.task.request)
        return {
            "base_model": composition.base_model,
            "request": composition.request,
            "adapter_id": row.task.adapter_id,
            "fine_tuned_model": row.columns[0],
        }


class CompositionDeleted(TaskDeleted):
    id: str
    object: Literal["adapter.composition"] = "adapter.composition"
    deleted: Literal[True] = True
