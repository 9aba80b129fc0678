"""Conditional GET requests (RFC 9110, section 13).

A client that has the current version already gets the status 304, without a body.
"""

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
                "description": "Send it back in `If-None-Match`: the answer is 304 as long as nothing "
                "has changed",
                "schema": {"type": "string"},
            }
        }
    },
    304: {
        "description": "Nothing has changed since the answer whose `ETag` the client sent in `If-None-Match`"
    },
}

# The release is part of each ETag, as another release may show the same state in another form.
RELEASE = version("tunery")


def weak_tag(*parts: object) -> str:
    """Return an ETag that changes when any of `parts` does.

    It is weak: it stands for the state, and not for the bytes of the answer.
    """
    state = "\n".join(map(str, (RELEASE, *parts)))
    return f'W/"{hashlib.sha256(state.encode()).hexdigest()[:32]}"'


def is_conditional(request: Request) -> bool:
    """Return whether the client holds a version already."""
    return "if-none-match" in request.headers


def not_modified(request: Request, tag: str) -> Response | None:
    """Return the answer 304 if the client holds `tag` already, else None."""
    held = request.headers.get("if-none-match", "")
    if held.strip() != "*" and tag not in (one.strip() for one in held.split(",")):
        return None
    return Response(status_code=304, headers=_headers(tag))


def tagged(content: BaseModel, tag: str) -> Response:
    """Return the answer 200 with the content and its ETag."""
    return Response(content.model_dump_json(), media_type="application/json", headers=_headers(tag))


def _headers(tag: str) -> dict[str, str]:
    # `no-cache` lets a client keep the answer, but it must ask before it uses it again.
    return {"etag": tag, "cache-control": "private, no-cache"}
