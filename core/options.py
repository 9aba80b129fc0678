"""The base of everything that a client may set."""

from pydantic import BaseModel, ConfigDict


class Options(BaseModel):
    """Refuses what it does not know and converts nothing: a misspelt option must not train silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
