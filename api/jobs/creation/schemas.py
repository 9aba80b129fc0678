"""A job as a client asks for it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from core.jobs.integrations import Integration
from core.jobs.spec import (
    RequestedDpo,
    RequestedHyperparameters,
    RequestedKto,
    RequestedOrpo,
    RequestedSimpo,
    TrainingOptions,
)
from core.methods.offered import OfferedAdapter
from core.options import Options

MetadataKey = Annotated[str, StringConstraints(max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]

# A part of the fine-tuned model's name, whose parts are separated by colons.
Suffix = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class SupervisedMethod(Options):
    hyperparameters: RequestedHyperparameters | None = None


class DpoMethod(Options):
    hyperparameters: RequestedDpo | None = None


class OrpoMethod(Options):
    hyperparameters: RequestedOrpo | None = None


class KtoMethod(Options):
    hyperparameters: RequestedKto | None = None


class SimpoMethod(Options):
    hyperparameters: RequestedSimpo | None = None


class Method(Options):
    """How to train. `supervised` and `dpo` are OpenAI's, `orpo`, `kto` and `simpo` our own.

    OpenAI's `reinforcement` is not on offer. Options of other methods than `type` must be null.
    """

    type: Literal["supervised", "dpo", "orpo", "kto", "simpo", "reinforcement"]
    supervised: SupervisedMethod | None = None
    dpo: DpoMethod | None = None
    orpo: OrpoMethod | None = None
    kto: KtoMethod | None = None
    simpo: SimpoMethod | None = None
    reinforcement: Any = None


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
