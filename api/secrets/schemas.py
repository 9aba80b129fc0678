"""Secrets as a client sends and reads them. Only a request holds a value."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from api.schemas import Deleted, Identified, UnixSeconds, from_row
from core.options import SecretName
from core.tables import Secret


class SetSecret(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[
        SecretName, Field(description="A name as for a variable: capital letters, digits and underscores")
    ]
    value: Annotated[SecretStr, Field(min_length=1, max_length=8192)]


class SecretObject(Identified):
    """A secret without its value. `id` and `name` are the same."""

    object: Literal["secret"] = "secret"
    name: str
    created_at: UnixSeconds
    updated_at: UnixSeconds

    @classmethod
    def of(cls, secret: Secret) -> "SecretObject":
        return from_row(cls, secret, id=secret.name)


class SecretDeleted(Deleted):
    object: Literal["secret.deleted"] = "secret.deleted"
