"""/v1/workers: the workers, the jobs that they train, and the jobs that wait."""

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, Transaction
from api.http.routers import feature
from api.jobs.dependencies import Positions
from api.workers import service
from api.workers.schemas import WorkerList

router = feature("/v1/workers", "Workers")


@router.get("")
def list_workers(
    session: Transaction,
    caller: CurrentCaller,
    settings: AppSettings,
    positions: Positions,
) -> WorkerList:
    """List the workers that are there, with the jobs that each of them trains, and the waiting jobs.

    Jobs of the caller's project are listed. Jobs of other projects are only counted.
    """
    return service.overview(session, caller, positions, settings.offered_classes)
