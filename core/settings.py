"""One frozen Settings object, built once at a process's edge from TUNERY_* variables and handed down."""

import os
import warnings
from pathlib import Path
from typing import Any, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from core.errors import ConfigurationError
from core.jobs.integrations import installed_integrations
from core.jobs.spec import MAX_DEVICES

PREFIX = "TUNERY_"
SERVER_FIELDS = ("database_url", "broker_url", "s3_endpoint_url", "s3_bucket")
FORMER_NAMES = {"TUNERY_SWEEP_SECONDS": "TUNERY_SCAN_SECONDS"}  # read until the next major release


class Settings(BaseSettings):
    """Everything an operator can set. Each field is read from TUNERY_<NAME>; an empty variable is none.

    Credentials of the object store are the usual AWS variables, which boto3 reads by itself.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", populate_by_name=True
    )

    home: Path = Field(Path(".tunery"), description="State folder: embedded servers, models, the first key")
    database_url: str | None = Field(None, description="postgresql://user:password@host:port/name")
    broker_url: str | None = Field(None, description="redis://host:port/0 (Redis or Valkey)")
    s3_endpoint_url: str | None = Field(None, description="URL of the S3 endpoint")
    s3_bucket: str | None = Field(None, description="Bucket; created when it is missing")

    host: str = Field("127.0.0.1", description="Address the API listens on")
    port: int = Field(8000, ge=1, le=65535, description="Port the API listens on")

    catalog_file: Path | None = Field(None, description="TOML file that declares the base models on offer")
    model_store: Path | None = Field(None, description="Base models on disk; default: models/ in the home")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$", description="Where the trainer computes")

    devices: int = Field(
        1, ge=1, le=MAX_DEVICES, description="The worker's class: devices that train its jobs together"
    )
    device_classes: str | None = Field(
        None,
        pattern=r"^[1-9]\d?(,[1-9]\d?)*$",
        description="Classes that some worker serves, like 1,8: what jobs may ask for; default: the worker's",
    )
    nodes: int = Field(1, ge=1, le=MAX_DEVICES, description="Machines that a class's devices are spread over")
    node_rank: int = Field(0, ge=0, description="Which of these machines this is; 0 claims the jobs")
    rendezvous: str | None = Field(
        None,
        pattern=r"^.+:\d+$",
        validate_default=True,
        description="host:port on machine 0, where the machines' processes meet",
    )

    key_trust_seconds: float = Field(
        2.0,
        ge=0,
        description="How long after its revocation, or a change of quotas, a key may be taken as before",
    )

    max_file_bytes: int = Field(512 * 1024**2, ge=1, description="Largest file, bytes")
    max_upload_bytes: int = Field(8 * 1024**3, ge=1, description="Largest file that arrives in parts, bytes")
    max_row_bytes: int = Field(4 * 1024**2, ge=1024, description="Longest line of a dataset, bytes")

    lease_seconds: float = Field(60, ge=1, description="A trainer silent for so long has lost its job")
    scan_seconds: float = Field(
        10,
        ge=0.1,
        validation_alias=AliasChoices("TUNERY_SCAN_SECONDS", "TUNERY_SWEEP_SECONDS"),
        description="Seconds between two scans for lost leases and forgotten jobs",
    )
    max_lost_attempts: int = Field(5, ge=1, description="Lost trainers in a row before a job fails")
    checkpoint_seconds: float = Field(
        300, gt=0, description="Longest stretch of training without a checkpoint"
    )
    max_step_tokens: int | None = Field(
        None,
        ge=64,
        description="Tokens computed at once, for bounded memory; default: 2,560 in bf16, 1,536 in fp32",
    )
    hang_seconds: float = Field(
        1800, gt=0, description="A trainer that computes on one micro-batch for longer hangs, and is replaced"
    )
    cohort_jobs: int = Field(16, ge=1, description="Most jobs that one trainer trains together")
    cohort_bytes: int = Field(
        4 * 1024**3, ge=0, description="Most memory of their adapters, gradients and moments, bytes"
    )
    project_jobs: int | None = Field(
        None, ge=1, description="Most jobs of one project that run at once, on all workers together"
    )
    operator_project: str = Field(
        "default", description="The project whose admin keys administer all projects, not only their own"
    )
    project_queued_jobs: int | None = Field(None, ge=0, description="Most jobs of one project that wait")
    project_stored_bytes: int | None = Field(None, ge=0, description="Most bytes of one project's files")
    project_requests_per_minute: int | None = Field(
        None, ge=1, description="Most requests of one project a minute, to all API processes together"
    )

    secret_keys: SecretStr | None = Field(
        None,
        description="Keys that stored secrets are sealed with, separated by commas, the newest first; "
        "`tunery secrets keygen` prints one. `tunery up` makes its own",
    )
    egress_allow: str | None = Field(
        None,
        description="Hosts and networks, like hooks.internal,10.0.0.0/8, that webhooks may reach though they "
        "are private, and without TLS",
    )
    integrations: str | None = Field(
        None,
        pattern=r"^(wandb|mlflow|tensorboard)(,(wandb|mlflow|tensorboard))*$",
        description="Trackers that the workers have; default: those whose library is installed here",
    )
    mlflow_tracking_uris: str | None = Field(
        None,
        description="MLflow servers that jobs may report to, separated by commas, the default first; without "
        "one, MLflow is not on offer",
    )

    log_level: str = Field(
        "info",
        pattern=r"^(debug|info|warning|error)$",
        description="The least important lines that are logged",
    )
    log_json: bool = Field(False, description="One JSON object per log line instead of text")

    def model_post_init(self, _context: Any, /) -> None:
        """Warn about each variable that is set under a former name."""
        for former, name in FORMER_NAMES.items():
            if os.environ.get(former):
                warnings.warn(f"{former} is now {name}; set {name} instead", FutureWarning, stacklevel=3)

    @field_validator("nodes", "node_rank", "rendezvous")
    @classmethod
    def _fit_together(cls, value: int | str | None, info: ValidationInfo) -> int | str | None:
        devices, nodes = (info.data.get(name, 1) for name in ("devices", "nodes"))
        if info.field_name == "nodes" and devices % int(value or 1):
            raise ValueError(f"each machine needs as many of the {devices} devices as the others")
        if info.field_name == "node_rank" and int(value or 0) >= nodes:
            raise ValueError(f"the machines are counted from 0 to {nodes - 1}")
        if info.field_name == "rendezvous" and value is None and nodes > 1:
            raise ValueError("several machines need an address to meet at")
        return value

    @property
    def offered_classes(self) -> list[int]:
        """What `training.devices` may be."""
        named = self.device_classes or str(self.devices)
        return sorted({int(devices) for devices in named.split(",")})

    @property
    def offered_integrations(self) -> list[str]:
        """What a job's `integrations` may name."""
        named = installed_integrations() if self.integrations is None else self.integrations.split(",")
        return [name for name in named if name != "mlflow" or self.offered_mlflow_uris]

    @property
    def offered_mlflow_uris(self) -> list[str]:
        return [uri.strip() for uri in (self.mlflow_tracking_uris or "").split(",") if uri.strip()]

    @property
    def claims_jobs(self) -> bool:
        """False on the further machines of a class that is spread over several."""
        return self.node_rank == 0

    @property
    def models_folder(self) -> Path:
        return self.model_store or self.home / "models"

    @property
    def needs_embedded_servers(self) -> bool:
        """True where no external server is named.

        Raises ConfigurationError where only some are: a half-external service is a mistake.
        """
        missing = [name for name in SERVER_FIELDS if getattr(self, name) is None]
        if missing and len(missing) < len(SERVER_FIELDS):
            raise ConfigurationError(
                "External servers are set only in part; set also "
                + ", ".join(f"TUNERY_{name.upper()}" for name in missing)
            )
        return bool(missing)

    def with_servers(self, **urls: str) -> Self:
        """The same settings with the servers' addresses filled in."""
        return self.model_copy(update=urls)

    def server(self, name: str) -> str:
        """The address in field `name`. Raises ConfigurationError where it is not set."""
        value: str | None = getattr(self, name)
        if value is None:
            raise ConfigurationError(
                f"TUNERY_{name.upper()} is not set. Set it, or run `tunery up`, which starts its own servers."
            )
        return value
