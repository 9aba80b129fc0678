"""A request for a new job."""

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

# A part of the fine-tuned model's name. Colons separate the parts of the name, so it has none.
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
    """A request for a new job: OpenAI's parameters, and Tunery's own `adapter` and `training`.

    The job's losses are also measured on `validation_file`. `suffix` becomes a part of the fine-tuned model's
    name. `seed` decides all random choices of the job; without one, the server draws it. `metadata` are pairs
    of the client's own, by which the list of jobs can be filtered.

    Unknown parameters are ignored, with a warning among the job's events.
    """

    model_config = ConfigDict(extra="allow", strict=True)

    model: Annotated[str, Field(description="A base model from `GET /v1/models`")]
    training_file: Annotated[
        str, Field(description="A file with the purpose `fine-tune` and at least 10 rows")
    ]
    validation_file: str | None = None
    suffix: Suffix | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    metadata: Metadata | None = None
    hyperparameters: Annotated[
        RequestedHyperparameters | None,
        Field(description="The older place for the hyperparameters in `method`"),
    ] = None
    method: Method | None = None
    integrations: Annotated[
        list[Integration] | None,
        Field(description="Experiment trackers that the job reports to, each at most once", max_length=8),
    ] = None
    adapter: Annotated[
        OfferedAdapter | None,
        Field(
            description="A method from `GET /v1/methods` with its options, under PEFT's names. Without a "
            "`type`, it is LoRA"
        ),
    ] = None
    training: Annotated[
        TrainingOptions | None,
        Field(description="Options of the training, which have the names of transformers"),
    ] = None
