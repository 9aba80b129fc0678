"""Returns the methods on offer: some of those that `core/methods` knows."""

from api.methods.schemas import MethodObject
from core.errors import NotFound
from core.methods.offered import OPTIONS
from core.methods.registry import METHODS


def list_all() -> list[MethodObject]:
    return [MethodObject.of(METHODS[name], options) for name, options in OPTIONS.items()]


def get(method_type: str) -> MethodObject:
    """Return a method. Raises NotFound, also for a method that is known but not on offer."""
    if method_type not in OPTIONS:
        raise NotFound(
            f"The method '{method_type[:64]}' is not on offer. On offer: {', '.join(OPTIONS)}.",
            code="method_not_found",
            param="method_type",
        )
    return MethodObject.of(METHODS[method_type], OPTIONS[method_type])
