"""Returns the methods that jobs may use."""

from api.jobs.creation.requested_adapter import LoraAdapter
from api.methods.schemas import MethodObject
from core.errors import NotFound
from core.methods.method import Method
from core.methods.registry import METHODS


def list_all() -> list[MethodObject]:
    return [_told(method) for method in METHODS.values()]


def get(method_type: str) -> MethodObject:
    """Return a method. Raises NotFound if there is none of this type."""
    if method_type not in METHODS:
        raise NotFound(
            f"The method '{method_type[:64]}' is not on offer. On offer: {', '.join(METHODS)}.",
            code="method_not_found",
            param="method_type",
        )
    return _told(METHODS[method_type])


def _told(method: Method) -> MethodObject:
    """Return the method with the options that a request may set."""
    return MethodObject.of(method, LoraAdapter if method.type == "lora" else method.options)
