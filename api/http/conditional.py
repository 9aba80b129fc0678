"""Conditional GETs (RFC 9110, section 13): who holds the current version gets a 304 without a body."""

import hashlib
from importlib.metadata import version
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "headers": {
            "ETag": {
                "description": "Send it back in `If-None-Match` to be answered 304 while nothing has changed",
                "schema": {"type": "string"},
            }
        }
    },
    304: {"description": "Nothing has changed since the answer whose `ETag` came in `If-None-Match`"},
}

# Another release may show the same state otherwise.
RELEASE = version("tunery")


def weak_tag(*parts: object) -> str:
    """An ETag that changes with any of `parts`. Weak: it stands for the state, not for the bytes."""
    state = "\n".join(map(str, (RELEASE, *parts)))
    return f'W/"{hashlib.sha256(state.encode()).hexdigest()[:32]}"'


def is_conditional(request: Request) -> bool:
    return "if-none-match" in request.headers


def not_modified(request: Request, tag: str) -> Response | None:
    """The answer to a client that holds `tag` already, else None."""
    held = request.headers.get("if-none-match", "")
    if held.strip() != "*" and tag not in (one.strip() for one in held.split(",")):
        return None
    return Response(status_code=304, headers=_headers(tag))


def tagged(content: BaseModel, tag: str) -> Response:
    return Response(content.model_dump_json(), media_type="application/json", headers=_headers(tag))


def _headers(tag: str) -> dict[str, str]:
    return {
        "etag": tag,
        "cache-control": "private, no-cache",
    }  # no-cache: may be kept, must be asked for again
