"""Aliases as a client sends and reads them."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import Deleted, Identified, UnixSeconds, from_row
from core.tables import Alias, AliasMove, ApiKey

MAX_MODELS = 8
MAX_WEIGHT = 1_000_000
ALIAS_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

ModelName = Annotated[str, StringConstraints(min_length=1, max_length=512)]
Weight = Annotated[int, Field(ge=1, le=MAX_WEIGHT)]
ExpectedVersion = Annotated[
    int | None,
    Field(
        ge=0,
        le=2**31 - 1,
        description="The version that the alias has now, or 0 for an alias that does not exist. If somebody "
        "else has moved it meanwhile, the answer is 409 and nothing changes",
    ),
]
WEIGHTS = (
    "The models that answer, each with its weight. A request goes to one of them by the hash of its `user`, "
    "else of its idempotency key, else of its content"
)


class SetAlias(BaseModel):
    """Says where an alias leads from now on: to one `model`, or to several with `weights`.

    A model is a base model, a fine-tuned model, a checkpoint of a job that has ended, or an adapter's id.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[
        str,
        StringConstraints(pattern=f"^{ALIAS_NAME.pattern}$"),
        Field(description="Such as `prod`. It cannot be the name of a base model or an adapter's id"),
    ]
    model: ModelName | None = None
    weights: Annotated[
        dict[ModelName, Weight] | None, Field(min_length=1, max_length=MAX_MODELS, description=WEIGHTS)
    ] = None
    version: ExpectedVersion = None


class MoveBack(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    version: ExpectedVersion = None


class AliasObject(Identified):
    """A name for one model, or for several with weights. `id` and `name` are the same."""

    object: Literal["alias"] = "alias"
    name: str
    model: Annotated[str | None, Field(description="The model. Null if the alias leads to several")]
    weights: Annotated[dict[str, int], Field(description=WEIGHTS)]
    version: Annotated[int, Field(description="Counts the moves of the alias, from 1")]
    created_at: UnixSeconds
    updated_at: UnixSeconds

    @classmethod
    def of(cls, alias: Alias) -> "AliasObject":
        return from_row(cls, alias, id=alias.name, model=only_model(alias.weights))


class MovingKey(Identified):
    name: str


class AliasMoveObject(Identified):
    """A move of an alias. `id` is its version."""

    object: Literal["alias.move"] = "alias.move"
    version: int
    model: str | None
    weights: dict[str, int]
    restored: Annotated[
        int | None, Field(description="The version to which the alias went back. Null for any other move")
    ]
    moved_by: Annotated[MovingKey | None, Field(description="The API key that moved the alias")]
    created_at: UnixSeconds

    @classmethod
    def of(cls, move: AliasMove, key: ApiKey | None) -> "AliasMoveObject":
        moved_by = from_row(MovingKey, key) if key else None
        return from_row(cls, move, id=str(move.version), model=only_model(move.weights), moved_by=moved_by)


class AliasDeleted(Deleted):
    object: Literal["alias.deleted"] = "alias.deleted"


def only_model(weights: dict[str, Any]) -> str | None:
    """Return the model to which an alias leads, or None for several."""
    return next(iter(weights)) if len(weights) == 1 else None
