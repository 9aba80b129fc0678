"""Adapters as a client reads them: the results of jobs. After full fine-tuning, one is a whole model."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from api.schemas import Identified, UnixSeconds


class AdapterFile(BaseModel):
    name: str
    bytes: Annotated[int, Field(description="The size in bytes")]
    sha256: Annotated[str, Field(description="The SHA-256 of the content, in hexadecimal")]


class AdapterObject(Identified):
    """The result of a job that has succeeded, with its files.

    `base_model` is an id of the catalog, and `model` the name of the fine-tuned model. `kind` says whether
    the files are an adapter, to load with the base model, or a whole model. `training` says how it was
    trained. An adapter stays when its job is deleted; `job_deleted` is true then.
    """

    object: Literal["adapter"] = "adapter"
    created_at: UnixSeconds
    job_id: str
    job_deleted: bool
    base_model: str
    base_revision: Annotated[
        str | None, Field(description="The revision of the base model's weights. Null if it is unknown")
    ]
    model: str
    type: Annotated[str, Field(description="The method of adaptation, an `id` of `GET /v1/methods`")]
    kind: Literal["adapter", "model"]
    files: list[AdapterFile]
    training: dict[str, Any]


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


class AdapterDeleted(BaseModel):
    id: str
    object: Literal["adapter"] = "adapter"
    deleted: Literal[True] = True
