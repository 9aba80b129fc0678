"""Models in OpenAI's form."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from api.models.queries import TunedModel
from api.schemas import Deleted, unix_seconds
from core.catalog import BaseModelEntry, Precision
from core.tables import Alias


class ModelObject(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: Annotated[int, Field(description="Unix seconds")]
    owned_by: str
    shutdown_date: str | None = Field(
        default=None,
        description="The day, as `2027-01-31`, after which the operator offers the base model no more. Null "
        "if none is announced, and for aliases",
    )
    adapter_id: str | None = Field(
        default=None,
        description="The adapter that holds the weights of a fine-tuned model. The adapter's `kind` says "
        "whether they are an adapter or a whole model. Null for all other models",
    )

    quantization: Literal["nf4", "int8"] | None = Field(
        default=None,
        description="How a base model is stored in 4 or 8 bits. Only methods with `takes_quantized` train on "
        "it. Null for all other models",
    )
    quantizations: list[Precision] | None = Field(
        default=None,
        description="The values that a job on this base model may have in `training.quantization`. Null for "
        "fine-tuned models and aliases",
    )
    weights: dict[str, int] | None = Field(
        default=None,
        description="The models to which an alias leads, each with its weight. Null for what is not an alias",
    )

    @classmethod
    def of_base(cls, entry: BaseModelEntry) -> "ModelObject":
        return cls(
            id=entry.id,
            created=entry.created,
            owned_by=entry.repository.split("/")[0],
            shutdown_date=entry.shutdown_date and entry.shutdown_date.isoformat(),
            quantization=entry.quantization,
            quantizations=list(entry.precisions),
        )

    @classmethod
    def of_tuned(cls, model: TunedModel) -> "ModelObject":
        return cls(
            id=model.name,
            created=unix_seconds(model.created_at),
            owned_by=model.owned_by,
            adapter_id=model.adapter_id,
        )

    @classmethod
    def of_alias(cls, alias: Alias, owned_by: str) -> "ModelObject":
        created = unix_seconds(alias.created_at)
        return cls(id=alias.name, created=created, owned_by=owned_by, weights=alias.weights)


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelObject]
    has_more: Annotated[
        bool,
        Field(description="Whether there are more models. The list of jobs names all models of the project"),
    ] = False


class ModelDeleted(Deleted):
    object: Literal["model"] = "model"
