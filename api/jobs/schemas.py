"""A job as a client asks for it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.jobs.method_schemas import Method
from core.jobs.integrations import Integration
from core.jobs.spec import TrainingOptions
from core.methods.offered import OfferedAdapter
from core.objectives.hyperparameters import RequestedHyperparameters

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]

# A part of the fine-tuned model's name, whose parts are separated by colons.
Suffix = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class CreateJob(BaseModel):
    """OpenAI's parameters, and Tunery's own `adapter` and `training`. Others are ignored with a warning."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: Annotated[str, Field(description="A base model of `GET /v1/models`")]
    training_file: Annotated[str, Field(description="A file with purpose `fine-tune` and at least 10 rows")]
    validation_file: str | None = None
    suffix: Suffix | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    hyperparameters: Annotated[
        RequestedHyperparameters | None, Field(description="The older place of what `method` holds")
    ] = None
    method: Method | None = None
    integrations: Annotated[
        list[Integration] | None,
        Field(description="Experiment trackers to report to, each at most once", max_length=8),
    ] = None
    adapter: Annotated[
        OfferedAdapter | None,
        Field(
            description="A method of `GET /v1/methods` with its options, in PEFT's names; LoRA without `type`"
        ),
    ] = None
    training: Annotated[TrainingOptions | None, Field(description="In transformers' names")] = None

    @property
    def training_or_default(self) -> TrainingOptions:
        """The training options that were asked for, or their defaults where the request names none."""
        return self.training or TrainingOptions()
