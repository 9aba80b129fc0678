"""Filters of lists by the metadata that clients attach to things: `metadata[key]=value` in the query."""

import re
from typing import Any

from fastapi import Request

from core.errors import InvalidRequest

NONE = ("null", "")  # Python's client sends the first if told so, and Node's client the second for null

METADATA_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)


def metadata_parameter(things: str) -> dict[str, Any]:
    """Return the `openapi_extra=` of a list of `things`, a plural, that can be filtered by metadata."""
    description = (
        f"`metadata[key]=value` finds the {things} whose metadata holds this pair. All pairs of the request "
        f"must be there. `metadata=null`, or an empty `metadata=`, finds the {things} without metadata."
    )
    schema = {"type": "object", "additionalProperties": {"type": "string"}, "nullable": True}
    parameter = {"name": "metadata", "in": "query", "style": "deepObject", "explode": True}
    return {"parameters": [parameter | {"description": description, "schema": schema}]}


def metadata_in(request: Request) -> tuple[dict[str, str], bool]:
    """Return the pairs of the query, and whether it asks for things without metadata: `metadata=null`.

    Raises InvalidRequest for both at once, and for any other value of `metadata`.
    """
    pairs: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if match := METADATA_FILTER.fullmatch(name):
            pairs[match[1]] = value
    whole = request.query_params.get("metadata")
    if whole is not None and (pairs or whole not in NONE):
        raise InvalidRequest(
            "Filter by metadata[key]=value, or send metadata=null to find what has no metadata; not both.",
            code="invalid_value",
            param="metadata",
        )
    return pairs, whole is not None
