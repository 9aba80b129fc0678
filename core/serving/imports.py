"""An adapter to import, as the API tells it to a server, and what the server answers."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.serving.served_model import StoredFile

IMPORT = "/v1/import"  # the server's path
MAX_PARTS = 16

Format = Literal["peft", "loralib"]
EnabledParts = Annotated[list[bool], Field(min_length=1, max_length=MAX_PARTS)]


class ImportOrder(BaseModel):
    """The file in the store, the base model's id, and where the adapter's files are to be stored.

    `lora_alpha`, `r` and `enable_lora` describe a loralib checkpoint.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    key: str
    bytes: int
    sha256: str
    filename: str
    prefix: str
    lora_alpha: float | None = None
    r: int | None = None
    enable_lora: EnabledParts | None = None


class Imported(BaseModel):
    """The stored adapter: its files, its method with its options, and facts about it.

    `prefix` lies within that of the order. Each server that tries has one of its own, so that one which is
    late removes nothing of another.
    """

    format: Format
    prefix: str
    files: list[StoredFile]
    options: dict[str, Any]
    facts: dict[str, Any]
