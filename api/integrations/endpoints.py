"""/v1/integrations: the experiment trackers that jobs on this server may report to."""

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings
from api.http.routers import feature
from api.integrations.schemas import IntegrationObject
from api.schemas import Page

router = feature("/v1/integrations", "Integrations")


@router.get("")
def list_integrations(_: CurrentCaller, settings: AppSettings) -> Page[IntegrationObject]:
    """List the experiment trackers that a job's `integrations` may name, all on one page."""
    offered = [
        IntegrationObject(id=name, tracking_uris=settings.offered_mlflow_uris if name == "mlflow" else [])
        for name in settings.offered_integrations
    ]
    return Page.of(offered, has_more=False)
