"""Checks that a job can report to the experiment trackers that it names."""

from collections.abc import Sequence

from core.errors import InvalidRequest
from core.jobs.integrations import Integration, MlflowIntegration
from core.settings import Settings


def checked_integrations(asked: Sequence[Integration], settings: Settings) -> Sequence[Integration]:
    """Return the same integrations. Raises InvalidRequest if one is not on offer, or is named twice."""
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
    return asked


def _check_uri(uri: str | None, offered: list[str], param: str) -> None:
    """Raise InvalidRequest for an address that is not on offer. A worker connects to no other address."""
    if uri is not None and uri not in offered:
        raise InvalidRequest(
            f"The MLflow server at that address is not on offer. On offer: {', '.join(offered)}.",
            code="tracking_uri_not_available",
            param=f"{param}.mlflow.tracking_uri",
        )
