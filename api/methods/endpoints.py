"""/v1/methods: the methods of adaptation that a job's `adapter` may name, with their options."""

from api.admission.auth import CurrentCaller
from api.http.errors import declared
from api.http.routers import feature
from api.methods import service
from api.methods.schemas import MethodObject
from api.schemas import Page
from core.errors import NotFound

router = feature("/v1/methods", "Methods")


@router.get("")
def list_methods(_: CurrentCaller) -> Page[MethodObject]:
    """List the methods that a job's `adapter` may name, all on one page.

    The `id` of a method is the `type` of the adapter.
    """
    return Page.of(service.list_all(), has_more=False)


@router.get("/{method_type}", responses=declared(NotFound))
def retrieve_method(_: CurrentCaller, method_type: str) -> MethodObject:
    """Return a method with its options."""
    return service.get(method_type)
