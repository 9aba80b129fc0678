"""Secrets as a client sends and reads them. Only a request holds a value."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from api.schemas import Deleted, Identified, UnixSeconds, from_row
from core.options import SecretName
from core.secrets.hosts import AWS, Hosts
from core.tables import Secret


class SetSecret(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: Annotated[
        SecretName, Field(description="A name as for a variable: capital letters, digits and underscores")
    ]
    value: Annotated[SecretStr, Field(min_length=1, max_length=8192)]
    hosts: Annotated[
        Hosts | None,
        Field(
            description="The hosts to which the secret may be sent, such as `api.wandb.ai` or "
            f"`*.example.com`; `{AWS}` is AWS. Null: only hosts that the operator has chosen, and AWS. A "
            "secret that is replaced keeps its hosts if the request leaves them out"
        ),
    ] = None


class SecretObject(Identified):
    """A secret without its value. `id` and `name` are the same."""

    object: Literal["secret"] = "secret"
    name: str
    hosts: Annotated[
        list[str] | None, Field(description="The hosts to which it may be sent; null: those of the operator")
    ]
    created_at: UnixSeconds
    updated_at: UnixSeconds

    @classmethod
    def of(cls, secret: Secret) -> "SecretObject":
        return from_row(cls, secret, id=secret.name)


class SecretDeleted(Deleted):
    object: Literal["secret.deleted"] = "secret.deleted"
