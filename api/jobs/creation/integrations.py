"""Whether a job can report to the trackers that it names."""

from collections.abc import Sequence

from core.errors import InvalidRequest
from core.jobs.integrations import Integration, MlflowIntegration
from core.settings import Settings


def checked_integrations(asked: Sequence[Integration], settings: Settings) -> Sequence[Integration]:
    """The same. Raises InvalidRequest where one is not on offer, or named twice."""
    if not asked:
        return asked  # to find out what is on offer, the disk is searched for libraries
    offered = settings.offered_integrations
    for index, integration in enumerate(asked):
        param = f"integrations.{index}"
        if integration.type not in offered:
            raise InvalidRequest(
                f"The integration '{integration.type}' is not on offer here. On offer: "
                f"{', '.join(offered) or 'none'}.",
                code="unsupported_integration",
                param=f"{param}.type",
            )
        if integration.type in [earlier.type for earlier in asked[:index]]:
            raise InvalidRequest(
                f"The integration '{integration.type}' is named twice; a job reports to each once.",
                code="duplicate_integration",
                param=f"{param}.type",
            )
        if isinstance(integration, MlflowIntegration):
            _check_uri(integration.mlflow.tracking_uri, settings.offered_mlflow_uris, param)
    return asked


def _check_uri(uri: str | None, offered: list[str], param: str) -> None:
    """A worker follows no address that a client makes up."""
    if uri is not None and uri not in offered:
        raise InvalidRequest(
            f"No MLflow server is on offer at that address. On offer: {', '.join(offered)}.",
            code="tracking_uri_not_available",
            param=f"{param}.mlflow.tracking_uri",
        )
