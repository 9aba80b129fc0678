"""Compositions as a client reads them."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field

from api.compositions.queries import CompositionRow
from api.schemas import (
    Identified,
    TaskError,
    TaskProgress,
    TaskStatus,
    UnixSeconds,
    seconds_or_none,
    task_fields,
)
from core.compositions.requests import ComposeRequest, Composition


class CompositionObject(Identified):
    """A composition of adapters, and the adapter that it has made once it has succeeded.

    `request` has every default resolved. `report` has the `weights` in the order of the request's adapters,
    the `rank` of the result and the number of its `layers`. After a search it also has `trials`: the weights
    of each, with the loss of each file in nats per token, and their mean. If the search improves a share,
    they also have `scores`, that of each file, and their mean `score`.
    """

    object: Literal["adapter.composition"] = "adapter.composition"
    created_at: UnixSeconds
    base_model: str
    request: ComposeRequest
    status: TaskStatus
    progress: TaskProgress
    error: TaskError | None
    report: dict[str, Any] | None
    adapter_id: Annotated[str | None, Field(description="Null until the composition has succeeded")]
    fine_tuned_model: Annotated[str | None, Field(description="The name of the adapter's model")]
    started_at: UnixSeconds | None
    finished_at: UnixSeconds | None
    expires_at: Annotated[
        UnixSeconds | None, Field(description="When the composition is deleted. Its adapter stays")
    ]

    @classmethod
    def of(cls, row: CompositionRow) -> Self:
        task = row.task
        composition = Composition.model_validate(task.request)
        return cls(
            **task_fields(task),
            base_model=composition.base_model,
            request=composition.request,
            report=task.report,
            adapter_id=task.adapter_id,
            fine_tuned_model=row.model,
            expires_at=seconds_or_none(task.expires_at),
        )


class CompositionDeleted(BaseModel):
    id: str
    object: Literal["adapter.composition"] = "adapter.composition"
    deleted: Literal[True] = True
