"""An estimate as a client reads it, and as a job stores it."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from core.catalog import Precision
from core.estimates.job.devices import DeviceName
from core.estimates.memory_plan import Recompute

Bytes = Annotated[int, Field(description="Bytes")]


class Tokens(BaseModel):
    """Tokens of all epochs. `count` is between `least` and `most`; all three agree if it is `exact`.

    For a job with reinforcement, it counts prompts with their answers, each as long as it may become.
    """

    count: Annotated[int, Field(description="Tokens that the job trains, in all epochs")]
    exact: Annotated[
        bool,
        Field(
            description="Whether the file was rendered with this base model before. Otherwise the count is a "
            "guess from the file's size. It is never exact for a job that samples answers"
        ),
    ]
    least: int
    most: int
    computed: Annotated[
        int | None,
        Field(
            description="Tokens that are computed: a beginning that rows of a step share is computed once, "
            "and nothing is padded. Null until a job of this base model has trained on the file"
        ),
    ]
    per_epoch: int
    sampled: Annotated[
        int | None,
        Field(
            description="Those of the tokens that the model samples to learn from, at most. Null if the rows "
            "have their answers"
        ),
    ] = None
    longest_row: Annotated[int, Field(description="Tokens of the longest row, as it is cut to `max_length`")]
    validation: Annotated[int, Field(description="Tokens of the validation file, once")]


class Steps(BaseModel):
    """Optimizer steps. Rows with nothing to learn are left out, so a job may have fewer."""

    count: int
    per_epoch: int
    evaluations: Annotated[int, Field(description="Evaluations on all validation rows or on a part of them")]
    exact: bool


class DiskUse(BaseModel):
    """Bytes on disks, at most. The rows are on the worker's disk, and the rest is in the object store."""

    rows_bytes: Bytes
    checkpoint_bytes: Annotated[int, Field(description="Bytes of one state to go on from")]
    checkpoints_bytes: Annotated[int, Field(description="Bytes of all checkpoints that are kept at once")]
    result_bytes: Bytes
    total_bytes: Bytes


class MemoryParts(BaseModel):
    """The memory of a training, part by part.

    Not all parts exist at the same time, so `peak_bytes` is less than their sum. The copy of a whole model
    that a CPU saves is not a part, nor what loading the base model takes for a while. Each counts for the
    peak if it takes more than a step.
    """

    peak_bytes: Annotated[int, Field(description="The most of it at once, without `runtime_bytes`")]
    base_bytes: Annotated[int, Field(description="The frozen weights")]
    adapter_bytes: Annotated[int, Field(description="What is trained, with copies to compute with")]
    gradients_bytes: Bytes
    moments_bytes: Annotated[int, Field(description="AdamW's two moments")]
    activations_bytes: Annotated[int, Field(description="What layers keep for the backward pass")]
    head_bytes: Annotated[int, Field(description="Logits and losses")]
    workspace_bytes: Annotated[int, Field(description="What the backward pass of one layer holds")]
    evaluation_bytes: Annotated[int, Field(description="A micro-batch of an evaluation, instead of a step")]
    runtime_bytes: Annotated[
        int,
        Field(
            description="What the process holds beside all others: libraries, the code that they make for "
            "products, and gaps of its heap"
        ),
    ]


class MeasuresTaken(BaseModel):
    """How the engine makes the job fit."""

    recompute: Recompute
    step_tokens: Annotated[int, Field(description="Most tokens of a micro-batch")]


class Operations(BaseModel):
    """Multiplications and additions of the whole job, as the peaks of devices count them."""

    training: float
    evaluation: float
    sampling: Annotated[
        float, Field(description="Of answers that the model samples to learn from, at most")
    ] = 0.0


class Seconds(BaseModel):
    """How long the job takes once a worker has claimed it, in seconds.

    A worker may hold the base model already, or it has to load it. `expected` counts a load that quantises
    the weights, if they are to be quantised. A later load takes seconds.
    """

    least: float
    expected: float
    most: float
    basis: Annotated[
        Literal["measured", "rule"],
        Field(
            description="`measured`: from past jobs of this base model on this machine. `rule`: from the "
            "device's peak and the share of it that trainings reach"
        ),
    ]


class Price(BaseModel):
    """The price at the operator's rate."""

    least: float
    expected: float
    most: float
    currency: str
    per_hour: Annotated[float, Field(description="The operator's rate for one device")]


class Change(BaseModel):
    """One change with which the job would fit."""

    param: Annotated[str, Field(description="The parameter of the request")]
    value: Annotated[str | int | None, Field(description="Null if a person must choose it")]
    message: str


class Option(BaseModel):
    """What fits with another method or quantisation, with all else as in the request."""

    method: Annotated[str, Field(description="The adapter's type")]
    quantization: Precision
    fits: bool
    peak_bytes: Annotated[int | None, Field(description="Null if it does not fit")]
    largest_length: Annotated[int, Field(description="Most tokens of a row; 0 if no row fits")]
    largest_batch: Annotated[int, Field(description="Most of the longest rows that fit at once")]


class DeviceEstimate(BaseModel):
    """The job on one device, or on as many of them as `training.devices` says."""

    device: DeviceName
    title: str
    memory_bytes: Bytes
    usable_bytes: Annotated[
        int | None,
        Field(description="What the training may take beside base model and libraries; null if not known"),
    ]
    fits: Annotated[bool | None, Field(description="Null if the memory cannot be predicted")]
    memory: MemoryParts | None
    measures: MeasuresTaken | None
    largest_length: Annotated[
        int | None, Field(description="Most tokens of a row, up to the base model's limit")
    ]
    largest_batch: Annotated[
        int | None,
        Field(
            description="Most of the longest rows that fit at once. A larger `batch_size` is cut into parts, "
            "so it fits too"
        ),
    ]
    seconds: Seconds | None
    price: Annotated[Price | None, Field(description="Null if the operator has named no rate")]
    changes: Annotated[list[Change], Field(description="What to change where the job does not fit")]
    options: Annotated[list[Option], Field(description="What fits with other methods and quantisations")]


class Estimate(BaseModel):
    """What a job takes, as far as it is known before it runs."""

    object: Literal["fine_tuning.estimate"] = "fine_tuning.estimate"
    base_model: str
    method: Annotated[str, Field(description="The adapter's type")]
    quantization: Precision
    tokens: Tokens
    steps: Steps
    operations: Annotated[
        Operations | None, Field(description="Null if the base model's shape or the method is not known")
    ]
    disk: Annotated[DiskUse | None, Field(description="Null if the base model's shape is not known")]
    devices: list[DeviceEstimate]
    unknown: Annotated[
        list[str], Field(description="Why something could not be estimated. Empty if everything could")
    ]
