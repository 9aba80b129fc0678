"""/healthz and /readyz, for whoever keeps the process running. Neither needs a key."""

from fastapi import APIRouter, Request, Response

from api.dependencies import Bell, Store
from api.system import service
from api.system.schemas import Health, Readiness

router = APIRouter(tags=["System"])


@router.get("/healthz")
async def health() -> Health:
    """The process is alive, whatever its servers do."""
    return Health()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "A part is not ready"}})
def ready(request: Request, response: Response, doorbell: Bell, store: Store) -> Readiness:
    """Whether database, migrations, broker and storage are there."""
    found = service.readiness(request.app.state.engine, doorbell, store)
    if found.status != "ready":
        response.status_code = 503
        response.headers["retry-after"] = "2"
    return found
