"""These settings belong to what leaves the service."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class OutsideFields(BaseSettings):
    """The settings of what leaves the service: secrets, webhooks, signatures, trackers."""

    secret_keys: SecretStr | None = Field(
        None,
        description="Keys with which stored secrets are encrypted, separated by commas, the newest first. "
        "`tunery secrets keygen` prints a key; `tunery up` creates its own",
    )
    egress_allow: str | None = Field(
        None,
        description="Private hosts and networks to which webhooks, exports and the requests of graders may "
        "be sent, even without TLS, such as hooks.internal,10.0.0.0/8",
    )
    signing_key_file: Path | None = Field(
        None,
        description="File with an elliptic-curve private key in PEM, with which exports are signed. Every "
        "worker needs it. Without it, exports have no signature",
    )
    integrations: str | None = Field(
        None,
        pattern=r"^(wandb|mlflow|tensorboard)(,(wandb|mlflow|tensorboard))*$",
        description="Trackers that jobs may report to; default: those whose library this process can import",
    )
    mlflow_tracking_uris: str | None = Field(
        None,
        description="MLflow servers to which jobs may report, separated by commas, the default first. "
        "Without a server, MLflow is not on offer",
    )
