"""The parent of checks and conversions: both belong to a file, and their routes lie under it."""

from fastapi import APIRouter

from api.files import service as files
from api.http.errors import declared
from api.http.strict_json import StrictJsonRoute
from api.work.resource import Parent
from core.errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    QuotaExceeded,
    RateLimited,
    TooLarge,
    Unavailable,
)
from core.tables import Task

FILE = Parent(Task.file_id, files.get, always=True)
ERRORS_OF_CREATION = declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded, RateLimited)


def file_router() -> APIRouter:
    """Return a router for routes under a file."""
    return APIRouter(
        prefix="/v1/files/{file_id}",
        tags=["Files"],
        route_class=StrictJsonRoute,
        responses=declared(NotAuthenticated, NotFound, Unavailable),
    )
