"""/healthz and /readyz, for programs that keep the process running. Neither needs an API key."""

from fastapi import APIRouter, Request, Response

from api.system.schemas import Health, Readiness
from api.system.service import SharedReadiness

router = APIRouter(tags=["System"])


@router.get("/healthz")
async def health() -> Health:
    """Return that the process is alive. This does not look at the database, the broker or the storage."""
    return Health()


@router.get(
    "/readyz",
    responses={503: {"model": Readiness, "description": "A part is not ready, and the answer says which"}},
)
async def ready(request: Request, response: Response) -> Readiness:
    """Return whether the database, its migrations, the broker and the storage are ready.

    The answer may be up to one second old.
    """
    readiness: SharedReadiness = request.app.state.readiness
    found = await readiness.now()
    if found.status != "ready":
        response.status_code = 503
        response.headers["retry-after"] = "2"
    return found
