"""The settings of a process, with what follows from them."""

from pathlib import Path
from typing import Self

from pydantic_settings import SettingsConfigDict

from core.errors import ConfigurationError
from core.graders.python.sandbox import Sandbox
from core.jobs.integrations import installed_integrations
from core.portability.installed import other_runtimes
from core.settings.files import FileFields
from core.settings.graders import GraderFields
from core.settings.outside import OutsideFields
from core.settings.projects import ProjectFields
from core.settings.retention import RetentionFields
from core.settings.servers import ServerFields
from core.settings.service import ServiceFields
from core.settings.serving import ServingFields
from core.settings.sign_on import CALLBACK_PATH, SignOnFields, is_loopback
from core.settings.tasks import TaskFields
from core.settings.training import TrainingFields
from core.settings.workers import WorkerFields

PREFIX = "TUNERY_"
SERVER_FIELDS = ("database_url", "broker_url", "s3_endpoint_url", "s3_bucket")


class Settings(
    SignOnFields,
    OutsideFields,
    RetentionFields,
    ProjectFields,
    FileFields,
    ServingFields,  # pydantic checks the last class first, and this one asks what a worker's fields are
    GraderFields,
    TaskFields,
    TrainingFields,
    WorkerFields,
    ServiceFields,
    ServerFields,
):
    """Everything that an operator can set, and what other code asks of it.

    Each field is read from TUNERY_<NAME>. An empty variable counts as not set. boto3 reads the object store's
    credentials itself, from the usual AWS variables.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore")

    @property
    def longest_row_bytes(self) -> int:
        """The most bytes of a row with its images."""
        return self.max_row_bytes + self.max_row_image_bytes

    @property
    def offered_classes(self) -> list[int]:
        """The values that a job's `training.devices` may have."""
        named = self.device_classes or str(self.devices)
        return sorted({int(devices) for devices in named.split(",")})

    @property
    def offered_integrations(self) -> list[str]:
        """The trackers that a job's `integrations` may name."""
        named = installed_integrations() if self.integrations is None else self.integrations.split(",")
        return [name for name in named if name != "mlflow" or self.offered_mlflow_uris]

    @property
    def offered_mlflow_uris(self) -> list[str]:
        """The MLflow servers to which jobs may report, the default first."""
        return [uri.strip() for uri in (self.mlflow_tracking_uris or "").split(",") if uri.strip()]

    @property
    def measures_at_publication(self) -> bool:
        """Whether what jobs and compositions publish is measured in other runtimes at once."""
        if self.portability_at_publication == "auto":
            return bool(other_runtimes(self.vllm_python))
        return self.portability_at_publication

    @property
    def python_sandbox(self) -> Sandbox:
        """Where the code of Python graders runs."""
        return Sandbox(self.python_graders, self.python_grader_seconds, self.python_grader_memory_bytes)

    @property
    def prices(self) -> dict[str, float]:
        """The prices of an hour, by device."""
        named = (each.split("=") for each in (self.device_prices or "").split(",") if each)
        return {device: float(price) for device, price in named}

    @property
    def claims_jobs(self) -> bool:
        """Whether this machine claims jobs. If several machines train together, only the first one claims."""
        return self.node_rank == 0

    @property
    def own_catalog(self) -> Path:
        """The catalog that `tunery models add` writes if no other file is named. It may be missing."""
        return self.home / "catalog.toml"

    @property
    def models_folder(self) -> Path:
        """The folder for base models."""
        return self.model_store or self.home / "models"

    @property
    def upstream_folder(self) -> Path:
        """The folder for adapters that an upstream reads, as an absolute path."""
        return (self.serve_upstream_folder or self.home / "upstream").resolve()

    @property
    def rows_folder(self) -> Path:
        """The folder for the rows that a trainer has rendered."""
        return self.home / "rows"

    @property
    def needs_embedded_servers(self) -> bool:
        """Whether no external server is named.

        Raises ConfigurationError if only some of the external servers are named.
        """
        missing = [name for name in SERVER_FIELDS if getattr(self, name) is None]
        self._refuse_direct_url_alone()
        if missing and len(missing) < len(SERVER_FIELDS):
            raise ConfigurationError(
                "Only some of the external servers are set; set also "
                + ", ".join(f"TUNERY_{name.upper()}" for name in missing)
            )
        return bool(missing)

    @property
    def redirect_uri(self) -> str:
        """The address to which the provider of the sign-on sends browsers back.

        Raises ConfigurationError if a setting is missing without which nobody could sign on.
        """
        needed = ("sign_on_client_id", "sign_on_groups", "public_url")
        if missing := [f"TUNERY_{name.upper()}" for name in needed if not getattr(self, name)]:
            raise ConfigurationError(f"TUNERY_SIGN_ON_ISSUER is set; set also {', '.join(missing)}")
        if not self.is_public_over_tls and not is_loopback(self.public_url or ""):
            raise ConfigurationError(
                "TUNERY_SIGN_ON_ISSUER is set, so TUNERY_PUBLIC_URL has to begin with https: without TLS, "
                "anybody in the network could take over a person's session"
            )
        return f"{self.public_url}{CALLBACK_PATH}"

    @property
    def is_public_over_tls(self) -> bool:
        """Whether people open the dashboard by https."""
        return (self.public_url or "").startswith("https://")

    @property
    def direct_database_url(self) -> str:
        """The database without a pooler between. Raises ConfigurationError if no database is named."""
        self._refuse_direct_url_alone()
        return self.database_direct_url or self.server("database_url")

    def with_servers(self, **urls: str) -> Self:
        """Return the same settings with the addresses of servers filled in."""
        return self.model_copy(update=urls)

    def server(self, name: str) -> str:
        """Return the address in field `name`. Raises ConfigurationError if it is not set."""
        value: str | None = getattr(self, name)
        if value is None:
            raise ConfigurationError(
                f"TUNERY_{name.upper()} is not set. Set it, or run `tunery up`, which starts its own servers."
            )
        return value

    def _refuse_direct_url_alone(self) -> None:
        if self.database_direct_url and self.database_url is None:
            raise ConfigurationError(
                "TUNERY_DATABASE_DIRECT_URL is set without TUNERY_DATABASE_URL: set both, or neither"
            )
