"""These settings say what a worker trains on."""

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from core.options import MAX_DEVICES


class WorkerFields(BaseSettings):
    """The settings of a worker: its base models, its devices, the machines that it spans."""

    catalog_file: Path | None = Field(
        None,
        description="TOML file that declares the base models on offer; default: catalog.toml in "
        "TUNERY_HOME, if `tunery models add` or the dashboard has made it",
    )
    model_store: Path | None = Field(
        None, description="Folder for base models; default: models/ in TUNERY_HOME"
    )
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="Device on which the trainer computes"
    )
    devices: int = Field(
        1,
        ge=1,
        le=MAX_DEVICES,
        description="Number of devices that train each of this worker's jobs together",
    )
    device_classes: str | None = Field(
        None,
        pattern=r"^[1-9]\d?(,[1-9]\d?)*$",
        description="Numbers of devices that jobs may ask for, such as 1,8. Each needs a worker with so many "
        "devices; default: TUNERY_DEVICES",
    )
    nodes: int = Field(
        1,
        ge=1,
        le=MAX_DEVICES,
        description="Number of machines over which the devices are spread",
    )
    node_rank: int = Field(
        0, ge=0, description="Number of this machine, from 0 to TUNERY_NODES - 1; machine 0 claims the jobs"
    )
    rendezvous: str | None = Field(
        None,
        pattern=r"^.+:\d+$",
        validate_default=True,
        description="Address on machine 0, as host:port, at which the processes of all machines meet",
    )
    idle_seconds: float | None = Field(
        None,
        ge=5,
        description="Time without anything to do after which a worker ends itself, seconds; "
        "default: never. `tunery slurm` gives it to its workers",
    )
    slurm_file: Path | None = Field(
        None, description="TOML file that says which workers `tunery slurm` submits, and how"
    )
    slurm_seconds: float = Field(
        15, gt=0, description="Time between two looks of `tunery slurm` at the queue and at Slurm, seconds"
    )

    @field_validator("nodes", "node_rank", "rendezvous")
    @classmethod
    def _fit_together(cls, value: int | str | None, info: ValidationInfo) -> int | str | None:
        devices, nodes = (info.data.get(name, 1) for name in ("devices", "nodes"))
        if info.field_name == "nodes" and devices % int(value or 1):
            raise ValueError(f"the {devices} devices must be divided evenly among the machines")
        if info.field_name == "node_rank" and int(value or 0) >= nodes:
            raise ValueError(f"the machines are numbered from 0 to {nodes - 1}")
        if info.field_name == "rendezvous" and value is None and nodes > 1:
            raise ValueError("several machines need an address at which their processes meet")
        return value
