"""Checks a request's base model: its name, and the tokens after which a row is cut."""

from core.catalog import BaseModelEntry, Catalog
from core.errors import InvalidRequest


def require_base(catalog: Catalog, name: str) -> BaseModelEntry:
    """Return the base model with this name. Raises InvalidRequest if there is none."""
    entry = catalog.get(name)
    if entry is None:
        raise InvalidRequest(
            f"The base model '{name}' is not on offer. `GET /v1/models` lists those that are.",
            code="model_not_found",
            param="model",
        )
    return entry


def row_limit(entry: BaseModelEntry, asked: int | None, param: str) -> int:
    """Return the tokens after which a row is cut: `asked`, or else as many as the base model allows.

    Raises InvalidRequest if the base model allows fewer. `param` is the place of `asked` in the request.
    """
    if asked is not None and asked > entry.max_length:
        raise InvalidRequest(
            f"'{param}' is {asked}, but rows of {entry.id} have {entry.max_length} tokens at most.",
            code="invalid_value",
            param=param,
        )
    return asked or entry.max_length
