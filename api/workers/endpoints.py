"""/v1/workers: who trains, on what, and what waits."""

from fastapi import APIRouter

from api.dependencies import AppSettings, Transaction
from api.http.auth import CurrentCaller
from api.http.errors import declared
from api.jobs.dependencies import Places
from api.workers import service
from api.workers.schemas import WorkerList
from core.errors import NotAuthenticated, Unavailable

router = APIRouter(prefix="/v1/workers", tags=["Workers"], responses=declared(NotAuthenticated, Unavailable))


@router.get("")
def list_workers(
    session: Transaction,
    caller: CurrentCaller,
    settings: AppSettings,
    places: Places,
) -> WorkerList:
    """The workers that are there, with the jobs that each trains together, and the queue of each class.

    Jobs of the caller's project have names; of other projects' it tells how many there are.
    """
    return service.overview(session, caller, places, settings.offered_classes)
