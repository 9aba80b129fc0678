"""/healthz and /readyz, for whoever keeps the process running. Neither needs a key."""

from fastapi import APIRouter, Request, Response

from api.system.schemas import Health, Readiness
from api.system.service import SharedReadiness

router = APIRouter(tags=["System"])


@router.get("/healthz")
async def health() -> Health:
    """The process is alive, whatever its servers do."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "A part is not ready"}})
async def ready(request: Request, response: Response) -> Readiness:
    """Whether database, migrations, broker and storage are there, or were within the last second."""
    readiness: SharedReadiness = request.app.state.readiness
    found = await readiness.now()
    if found.status != "ready":
        response.status_code = 503
        response.headers["retry-after"] = "2"
    return found
