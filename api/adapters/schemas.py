"""Adapters: what a succeeded job leaves. After full fine-tuning it is a whole model."""

from typing import Any, Literal

from pydantic import BaseModel

from api.schemas import Identified


class AdapterFile(BaseModel):
    name: str
    bytes: int
    sha256: str


class AdapterObject(Identified):
    """`base_model` is the catalog's id, `model` the fine-tuned model's, `training` how it was trained.

    `kind` tells whether the files are an adapter, to load with the base model, or a whole model. An adapter
    outlives its job: `job_deleted` tells whether that is gone.
    """

    object: Literal["adapter"] = "adapter"
    created_at: int
    job_id: str
    job_deleted: bool
    base_model: str
    base_revision: str | None
    model: str
    type: str
    kind: Literal["adapter", "model"]
    files: list[AdapterFile]
    training: dict[str, Any]


class MeasuredRank(BaseModel):
    """What the whole validation file says of an adapter cut to its first `rank` ranks.

    The loss in nats, and the share of tokens predicted right; null without a validation file.
    """

    rank: int
    full_valid_loss: float | None
    full_valid_mean_token_accuracy: float | None


class MeasuredRanks(BaseModel):
    """In ascending order: the powers of two, and all ranks. The adapter can be cut to any other too."""

    object: Literal["list"] = "list"
    data: list[MeasuredRank]


class AdapterDeleted(BaseModel):
    id: str
    object: Literal["adapter"] = "adapter"
    deleted: Literal[True] = True
