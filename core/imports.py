"""An import of an adapter, as the API asks for it and as a process of a worker does it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

MAX_PARTS = 16

Format = Literal["peft", "loralib"]
EnabledParts = Annotated[list[bool], Field(min_length=1, max_length=MAX_PARTS)]


class ImportRequest(BaseModel):
    """The file in the store, the base model's id, and who imports it.

    `lora_alpha`, `r` and `enable_lora` describe a loralib checkpoint.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_model: str
    object_key: str
    sha256: str
    filename: str
    suffix: str | None = None
    lora_alpha: float | None = None
    r: int | None = None
    enable_lora: EnabledParts | None = None
    key_id: str | None = None
    key_name: str | None = None
    request_id: str | None = None
