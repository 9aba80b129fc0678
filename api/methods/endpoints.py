"""/v1/methods: the methods of adaptation that jobs may name, with their options."""

from fastapi import APIRouter

from api.http.auth import CurrentCaller
from api.http.errors import declared
from api.methods import service
from api.methods.schemas import MethodObject
from api.schemas import Page
from core.errors import NotAuthenticated, NotFound, Unavailable

router = APIRouter(prefix="/v1/methods", tags=["Methods"], responses=declared(NotAuthenticated, Unavailable))


@router.get("")
def list_methods(_: CurrentCaller) -> Page[MethodObject]:
    """What a job's `adapter` may be, all on one page. A method's id is the adapter's `type`."""
    return Page.of(service.list_all(), has_more=False)


@router.get("/{method_type}", responses=declared(NotFound))
def retrieve_method(_: CurrentCaller, method_type: str) -> MethodObject:
    return service.get(method_type)
