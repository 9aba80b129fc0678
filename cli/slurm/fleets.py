"""The file that TUNERY_SLURM_FILE names: which workers there may be, and how Slurm starts them."""

import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cli.slurm.refused import refusal
from core.errors import ConfigurationError
from core.options import MAX_DEVICES

Devices = Annotated[int, Field(ge=1, le=MAX_DEVICES)]


class Fleet(BaseModel):
    """Workers that are alike: of one device class, and with the same options of sbatch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    devices: Devices = Field(1, description="The device class")
    nodes: Devices = Field(1, description="Machines of one worker, among which its devices are divided")
    min: int = Field(0, ge=0, description="Workers that stay without anything to do")
    max: int = Field(4, ge=1, le=1000)
    target: int = Field(
        1, ge=1, description="Waiting jobs for each worker to submit, which may train several together"
    )
    tasks: bool = Field(True, description="Whether tasks and webhooks that wait also start a worker")
    idle_seconds: int = Field(300, ge=5, description="Time without anything to do, after which a worker ends")
    sbatch: tuple[str, ...] = Field((), description="Options of sbatch, such as a partition and GPUs")

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.devices % self.nodes:
            raise ValueError(f"its {self.devices} devices cannot be divided evenly among {self.nodes} nodes")
        if self.min > self.max:
            raise ValueError(f"min is {self.min}, but max is {self.max}")
        for option in self.sbatch:
            if why := refusal(option):
                raise ValueError(f"sbatch: {option} cannot be used here, because {why}")
        return self


class Fleets(BaseModel):
    """The whole file. The order of the workers counts: the first ones of a device class are started first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    script: Path = Field(description="The batch script, on the machine of `tunery slurm`")
    environment: Path = Field(description="File with the workers' variables, on each node")
    workers: dict[Annotated[str, Field(pattern=r"^[a-z0-9]+(-?[a-z0-9]+)*$")], Fleet] = Field(min_length=1)


def read_fleets(file: Path | None) -> Fleets:
    """Return what the file says. Raises ConfigurationError, which names the entry and the field."""
    if file is None:
        raise ConfigurationError(
            "TUNERY_SLURM_FILE is not set: name a file with the workers, as operate/slurm/slurm.toml is one"
        )
    try:
        fleets = Fleets.model_validate(tomllib.loads(file.read_text("utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{file}, {where}: {first['msg']}") from error
    if not fleets.script.is_file():
        raise ConfigurationError(f"{file}, script: there is no file {fleets.script}")
    return fleets
