"""Adapters as a client reads them: the results of jobs. After full fine-tuning, one is a whole model."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.schemas import Deleted, Identified, UnixSeconds
from core.compositions.methods import Method, SignMethod


class AdapterFile(BaseModel):
    name: str
    bytes: Annotated[int, Field(description="The size in bytes")]
    sha256: Annotated[str, Field(description="The SHA-256 of the content, in hexadecimal")]


class AncestorObject(BaseModel):
    """A model from which an adapter was made: another adapter's model, or a checkpoint of a job.

    `job_id` is null for an adapter that was imported or composed, and `adapter_id` for a checkpoint. `sha256`
    is one hash over the files that are loaded. `weight` is that of a part of a composed adapter, and null for
    a model from which a job has continued. A model may have been deleted since.
    """

    model: str
    adapter_id: str | None
    job_id: str | None
    step: int | None
    sha256: str
    weight: float | None = None


class ImportedFrom(BaseModel):
    """The file that an adapter was imported from, its SHA-256, and the API key that imported it."""

    format: Literal["peft", "loralib"]
    filename: str
    sha256: str
    key_id: str
    key_name: str


class ComposedFrom(BaseModel):
    """How an adapter was composed of others: the method with its options, as in the composition's request.

    The adapter's `lineage` names its parts, each with its weight.
    """

    composition_id: str
    method: Method
    density: float | None
    majority_sign_method: SignMethod | None
    svd_rank: int | None
    svd_clamp: float | None
    seed: int


class AdapterObject(Identified):
    """The result of a job that has succeeded, or an adapter that was imported or composed, with its files.

    `base_model` is an id of the catalog, and `model` the name of the fine-tuned model. `kind` says whether
    the files are an adapter, to load with the base model, or a whole model. `training` says how it was
    trained. An adapter stays when its job is deleted; `job_deleted` is true then. An adapter that was
    imported or composed has no job: its `job_id` is null, and `imported` or `composed` says where it comes
    from.

    `lineage` names the model from which its job continued, then that model's own parent, and so on. It is
    empty if the job began at the base. The lineage of a composed adapter names its parts, with their weights.
    """

    object: Literal["adapter"] = "adapter"
    created_at: UnixSeconds
    job_id: Annotated[str | None, Field(description="Null for an adapter that was imported or composed")]
    job_deleted: bool
    base_model: str
    base_revision: Annotated[str | None, Field(description="The revision of the base model's weights")]
    model: str
    type: Annotated[str, Field(description="The method of adaptation, an `id` of `GET /v1/methods`")]
    kind: Literal["adapter", "model"]
    files: list[AdapterFile]
    training: dict[str, Any]
    imported: Annotated[ImportedFrom | None, Field(description="Null if the adapter was not imported")]
    composed: Annotated[ComposedFrom | None, Field(description="Null if the adapter was not composed")]
    lineage: list[AncestorObject]


class MeasuredRank(BaseModel):
    """The loss on the whole validation file of the adapter, cut to its first `rank` ranks.

    `full_valid_loss` is in nats per token. `full_valid_mean_token_accuracy` is the share of tokens that were
    predicted right, from 0 to 1. Both are null without a validation file.
    """

    rank: int
    full_valid_loss: float | None
    full_valid_mean_token_accuracy: float | None


class MeasuredRanks(BaseModel):
    """The losses at the powers of two and at all ranks, in ascending order of ranks.

    The adapter can be cut to any other rank too.
    """

    object: Literal["list"] = "list"
    data: list[MeasuredRank]


class DescendantObject(Identified):
    """A job that continues from an adapter. `model` and `adapter_id` name its result while it exists."""

    object: Literal["adapter.descendant"] = "adapter.descendant"
    created_at: UnixSeconds
    job_deleted: bool
    status: str
    model: str | None
    adapter_id: str | None


class AdapterDeleted(Deleted):
    object: Literal["adapter"] = "adapter"
