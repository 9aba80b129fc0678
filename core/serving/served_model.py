"""What a request samples from. The API resolves a client's `model` to this, and the server loads it."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

from core.catalog import Precision
from core.storage.file_names import STATE_NAME

SERVED_FIELD = "served"  # the field that the API adds to OpenAI's body for the server
CONFIGURATIONS = ("adapter_config.json", "config.json", "generation_config.json")
INDEX_ENDING = ".safetensors.index.json"

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Wire(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredFile(_Wire):
    """One file of an adapter, as the row of the adapter or checkpoint lists it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256


class StoredAdapter(_Wire):
    """An adapter in the object store: `prefix` and a file's name make a key.

    `sha256` is the hash of the content: adapters with the same files have the same hash, wherever they lie.
    """

    sha256: Sha256
    prefix: str
    files: tuple[StoredFile, ...]

    @classmethod
    def of(cls, prefix: str, files: Iterable[Mapping[str, Any]]) -> Self:
        """Return the adapter of a row of `adapters` or `checkpoints`, with the files that a server needs."""
        needed = sorted(
            (StoredFile.model_validate(file) for file in files if _is_needed(file["name"])),
            key=lambda file: file.name,
        )
        lines = "".join(f"{file.sha256}  {file.name}\n" for file in needed)
        return cls(sha256=hashlib.sha256(lines.encode()).hexdigest(), prefix=prefix, files=tuple(needed))


class ServedModel(_Wire):
    """A base model of the catalog, alone or with one adapter. `adapter` may also be a whole model.

    An adapter answers on the weights that it was trained on: `precision` is theirs, None if the catalog
    decides.
    """

    base: str
    adapter: StoredAdapter | None = None
    precision: Precision | None = None

    def as_sent(self) -> dict[str, Any]:
        """Return the model as servers get it. One of an earlier release refuses a field that it lacks."""
        return self.model_dump(mode="json", exclude_none=True)


def _is_needed(name: str) -> bool:
    weights = name.endswith(".safetensors") and name != STATE_NAME
    return weights or name in CONFIGURATIONS or name.endswith(INDEX_ENDING)
