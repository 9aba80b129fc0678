"""/v1/fine_tuning/estimates: what a job would take, before it exists."""

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, ModelCatalog, Transaction
from api.estimates import service
from api.estimates.schemas import EstimateJob
from api.http.errors import declared
from api.http.routers import feature
from core.errors import InvalidRequest, TooLarge
from core.estimates.job.report import Estimate

router = feature("/v1/fine_tuning/estimates", "Fine-tuning jobs")


@router.post("", responses=declared(InvalidRequest, TooLarge))
def estimate_job(
    session: Transaction,
    caller: CurrentCaller,
    settings: AppSettings,
    catalog: ModelCatalog,
    body: EstimateJob,
) -> Estimate:
    """Estimate a job: its tokens, steps, memory, disk, time and price, on each of several devices.

    The request is that for a new job. It is checked in the same way, but nothing is created.
    """
    return service.estimate_for(session, caller.project_id, catalog, settings, body)
