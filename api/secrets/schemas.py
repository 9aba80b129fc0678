"""Stored secrets as clients see them: never with their values."""

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints

from api.schemas import Identified, unix_seconds
from core.tables import Secret

SECRET_NAME = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
SecretName = Annotated[
    str,
    StringConstraints(pattern=f"^{SECRET_NAME.pattern}$"),
    Field(description="Of a variable: capitals, digits, underscores"),
]


class SetSecret(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: SecretName
    value: Annotated[SecretStr, Field(min_length=1, max_length=8192)]


class SecretObject(Identified):
    """`id` is the name: what `after` takes."""

    object: Literal["secret"] = "secret"
    name: str
    created_at: int
    updated_at: int

    @classmethod
    def of(cls, secret: Secret) -> "SecretObject":
        return cls(
            id=secret.name,
            name=secret.name,
            created_at=unix_seconds(secret.created_at),
            updated_at=unix_seconds(secret.updated_at),
        )


class SecretDeleted(BaseModel):
    id: str
    object: Literal["secret.deleted"] = "secret.deleted"
    deleted: Literal[True] = True
