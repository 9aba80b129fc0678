"""/v1/workers: the workers, the jobs that they train, and the jobs that wait."""

from fastapi import APIRouter

from api.admission.auth import CurrentCaller
from api.dependencies import AppSettings, Transaction
from api.http.errors import declared
from api.jobs.dependencies import Positions
from api.workers import service
from api.workers.schemas import WorkerList
from core.errors import NotAuthenticated, Unavailable

router = APIRouter(prefix="/v1/workers", tags=["Workers"], responses=declared(NotAuthenticated, Unavailable))


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
