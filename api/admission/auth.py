"""Finds out who sends a request, and checks what the sender may do.

A middleware checks the API key, or the browser session that stands for a key. Another one checks that the
key's role allows the request's method. Both checks happen before routing, so that no route can forget them,
and no body is read of a request that the role does not allow. A route that only an administrator may use
takes an `AdminCaller`.
"""

from dataclasses import replace
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.admission.callers import Caller, Callers
from api.admission.cookies import (
    LINK_PATH,
    SESSION_PATH,
    SIGN_IN_PATH,
    SIGN_OFF_PATH,
    SIGN_ON_PATH,
    refuse_other_sites,
    session_of,
)
from api.admission.sign_ins import SESSION_PREFIX
from core.errors import NotAuthenticated, NotFound, PermissionDenied
from core.roles import Role
from core.settings.sign_on import CALLBACK_PATH

# The paths that need no key. A path must be equal to one of them; paths below them are not public. All other
# paths outside of /v1 lead to no data: `api.dashboard` answers those who want a page.
SIGN_ON_PATHS = (SIGN_ON_PATH, CALLBACK_PATH, SIGN_OFF_PATH)
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/openapi.json", SIGN_IN_PATH, LINK_PATH, *SIGN_ON_PATHS})
OF_ANY_ROLE = frozenset({SESSION_PATH})

READING_METHODS = frozenset({"GET", "HEAD"})


class Authentication:
    """ASGI middleware that lets a request pass if its path is public or its key is valid."""

    def __init__(self, app: ASGIApp, callers: Callers) -> None:
        self._app = app
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and not is_public(scope):
            if not is_of_api(scope):
                raise outside_of_api(scope)
            identified = await self._callers.find(credential_of(scope))
            caller = replace(identified, request_id=scope["state"]["request_id"])
            scope["state"]["caller"] = caller
        await self._app(scope, receive, send)


class Roles:
    """ASGI middleware that lets a request pass if its key's role allows the request's method.

    It runs while the request holds its permit, after the request has been counted: refusals count too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if caller := scope.get("state", {}).get("caller"):
            caller.require(required_role(scope))
        await self._app(scope, receive, send)


def required_role(scope: Scope) -> Role:
    """Return the role that the request's method needs on every route."""
    only_reads = scope["method"] in READING_METHODS or scope["path"] in OF_ANY_ROLE
    return Role.READ_ONLY if only_reads else Role.MEMBER


def is_of_api(scope: Scope) -> bool:
    """Return whether the path is below /v1."""
    return f"{scope['path']}/".startswith("/v1/")


def is_of_dashboard(scope: Scope) -> bool:
    """Return whether the dashboard answers the request: it asks for a page or a file outside of /v1."""
    if scope["method"] not in READING_METHODS or scope["path"] in PUBLIC_PATHS or is_of_api(scope):
        return False
    return not _is_of_client(Headers(scope=scope))


def _is_of_client(headers: Headers) -> bool:
    """Return whether a client of the API sends these headers: with a key, or for JSON alone."""
    accepted = headers.get("accept", "")
    wants_json = "application/json" in accepted and "text/html" not in accepted
    return wants_json or any(name in headers for name in ("authorization", "api-key"))


def outside_of_api(scope: Scope) -> NotFound:
    """Return the error for a client that has left out /v1, or that speaks Azure's form of the API."""
    if "api-key" in Headers(scope=scope) or "/openai/" in scope["path"]:
        mend = "Addresses of Azure are not served: use the client OpenAI, with a base URL that ends in /v1"
    else:
        mend = "The base URL of the API ends in /v1"
    return NotFound(f"Invalid URL ({scope['method']} {scope['path']}). {mend}.", code="unknown_url")


def is_public(scope: Scope) -> bool:
    """Return whether the request needs no key."""
    return scope["path"] in PUBLIC_PATHS or is_of_dashboard(scope)


def credential_of(scope: Scope) -> str:
    """Return the credential of the request: an API key, or a browser session.

    Raises NotAuthenticated if there is none, and PermissionDenied if another site may have made the browser
    send it.
    """
    headers = Headers(scope=scope)
    header, session = headers.get("authorization", ""), session_of(scope)
    if header or session is None:
        return _bearer_token(header)
    if scope["method"] not in READING_METHODS:
        refuse_other_sites(headers)
    return session


def _bearer_token(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or token.strip().startswith(SESSION_PREFIX):
        raise NotAuthenticated(
            "You did not provide an API key. Send one in the header Authorization: Bearer tnr_…"
        )
    return token.strip()


async def _caller(
    request: Request,
    _documented: Annotated[object, Depends(HTTPBearer(auto_error=False, description="A Tunery API key"))],
) -> Caller:
    caller: Caller = request.state.caller
    return caller


CurrentCaller = Annotated[Caller, Depends(_caller)]


async def _admin(caller: CurrentCaller) -> Caller:
    caller.require(Role.ADMIN)
    return caller


AdminCaller = Annotated[Caller, Depends(_admin)]


async def _operator(caller: AdminCaller) -> Caller:
    if not caller.of_operator:
        raise PermissionDenied(
            "Only the operator may do this. Ask the operator, or use an admin key of the operator's project."
        )
    return caller


OperatorCaller = Annotated[Caller, Depends(_operator)]
