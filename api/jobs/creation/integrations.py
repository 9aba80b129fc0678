"""Checks that a job can report to the experiment trackers that it names."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from core.errors import InvalidRequest
from core.jobs.integrations import (
    WANDB_SECRET,
    Integration,
    MlflowIntegration,
    WandbIntegration,
    wandb_is_offline,
)
from core.settings import Settings
from core.tables import Secret


def checked_integrations(
    session: Session, project_id: str, asked: Sequence[Integration], settings: Settings
) -> Sequence[Integration]:
    """Return the same integrations.

    Raises InvalidRequest if one is not on offer, is named twice, or lacks the secret that it needs.
    """
    if not asked:
        return asked  # saves a search: the next line looks for the trackers' libraries on the disk
    offered = settings.offered_integrations
    for index, integration in enumerate(asked):
        param = f"integrations.{index}"
        if integration.type not in offered:
            raise InvalidRequest(
                f"The integration '{integration.type}' is not on offer on this server. On offer: "
                f"{', '.join(offered) or 'none'}.",
                code="unsupported_integration",
                param=f"{param}.type",
            )
        if integration.type in [earlier.type for earlier in asked[:index]]:
            raise InvalidRequest(
                f"The integration '{integration.type}' is named twice. Name each integration once.",
                code="duplicate_integration",
                param=f"{param}.type",
            )
        if isinstance(integration, MlflowIntegration):
            _check_uri(integration.mlflow.tracking_uri, settings.offered_mlflow_uris, param)
        if isinstance(integration, WandbIntegration):
            _check_key(session, project_id, param)
    return asked


def _check_key(session: Session, project_id: str, param: str) -> None:
    """Raise InvalidRequest if the project has no key for Weights & Biases, and needs one."""
    if wandb_is_offline() or session.get(Secret, (project_id, WANDB_SECRET)) is not None:
        return
    raise InvalidRequest(
        f"The project has no secret {WANDB_SECRET}, with which a worker reports to Weights & Biases. Store "
        f"it by `tunery secrets set {WANDB_SECRET}` or POST /v1/secrets, and create the job again.",
        code="missing_secret",
        param=param,
    )


def _check_uri(uri: str | None, offered: list[str], param: str) -> None:
    """Raise InvalidRequest for an address that is not on offer. A worker connects to no other address."""
    if uri is not None and uri not in offered:
        raise InvalidRequest(
            f"The MLflow server at that address is not on offer. On offer: {', '.join(offered)}.",
            code="tracking_uri_not_available",
            param=f"{param}.mlflow.tracking_uri",
        )
