"""The base class of all options that a client may set."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Options that refuse unknown fields and convert nothing, since a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
