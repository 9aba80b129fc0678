"""Who asks, and what they may do.

A middleware checks the key, or the session of a browser that stands for one, and its role by the request's
method, before routing and before the body is read: no route forgets it. A route that only an administrator
may use takes an `AdminCaller`.
"""

import hashlib
import time
from dataclasses import dataclass, replace
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.http.cookies import SESSION_PATH, SIGN_IN_PATH, refuse_other_sites, session_token
from api.http.rates import RequestRates
from core.access import keys, sign_ins
from core.access.audit import Actor
from core.access.quotas import Quotas
from core.access.sign_ins import SESSION_PREFIX
from core.errors import NotAuthenticated, PermissionDenied
from core.roles import Role
from core.settings import Settings

# The paths that need no key, compared whole: nothing below or beside them is open. Outside of /v1 there are
# no data: `api.dashboard` answers everything else there, to whoever comes.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json", SIGN_IN_PATH})
OF_ANY_ROLE = frozenset({SESSION_PATH})

NO_QUOTAS = Quotas()
READING_METHODS = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Caller(Actor):
    """Whoever holds the key; all that the request may see belongs to the project."""

    role: Role = Role.READ_ONLY
    quotas: Quotas = NO_QUOTAS
    of_operator: bool = False
    """Whether the project is the one whose admin keys administer the installation."""

    def require(self, role: Role) -> None:
        """Raises PermissionDenied."""
        if not self.role.includes(role):
            raise PermissionDenied(
                f"This API key has the role '{self.role}', and this request needs '{role}'. "
                f"`tunery keys create --role {role}` makes such a key."
            )


class Authentication:
    """ASGI middleware. Lets public paths pass, and requests with a live key whose role covers the method, as
    many as the project may make."""

    def __init__(
        self, app: ASGIApp, sessions: sessionmaker[Session], settings: Settings, rates: RequestRates
    ) -> None:
        self._app = app
        self._sessions = sessions
        self._settings = settings
        self._rates = rates
        self._trusted: dict[bytes, tuple[Caller, float]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and not is_public(scope):
            identified = await self._identify(_token(scope))
            caller = replace(identified, request_id=scope["state"]["request_id"])
            most = caller.quotas.requests_per_minute
            if most is not None:
                await run_in_threadpool(self._rates.count, caller.project_id, most)
            scope["state"]["caller"] = caller
            only_reads = scope["method"] in READING_METHODS or scope["path"] in OF_ANY_ROLE
            caller.require(Role.READ_ONLY if only_reads else Role.MEMBER)
        await self._app(scope, receive, send)

    async def _identify(self, token: str) -> Caller:
        """Raises NotAuthenticated."""
        digest = hashlib.sha256(token.encode()).digest()
        caller, until = self._trusted.get(digest, (None, 0.0))
        if caller is None or time.monotonic() > until:
            self._trusted.pop(digest, None)
            until = time.monotonic() + self._settings.key_trust_seconds
            caller = await run_in_threadpool(self._look_up, token)
            self._trusted[digest] = caller, until
        return caller

    def _look_up(self, token: str) -> Caller:
        with self._sessions() as session:
            of_browser = token.startswith(SESSION_PREFIX)
            key = sign_ins.authenticate(session, token) if of_browser else keys.authenticate(session, token)
        quotas = Quotas.of(key.project, self._settings)
        of_operator = key.project.name == self._settings.operator_project
        return Caller(key.project_id, key.id, None, Role(key.role), quotas, of_operator)


def is_of_dashboard(scope: Scope) -> bool:
    path = scope["path"]
    reads = scope["method"] in READING_METHODS
    return reads and path not in PUBLIC_PATHS and not f"{path}/".startswith("/v1/")


def is_public(scope: Scope) -> bool:
    return scope["path"] in PUBLIC_PATHS or is_of_dashboard(scope)


def _token(scope: Scope) -> str:
    """A key's or a session's.

    Raises NotAuthenticated, and PermissionDenied where another site may have made the browser send it.
    """
    headers = Headers(scope=scope)
    header, session = headers.get("authorization", ""), session_token(headers)
    if header or session is None:
        return _bearer_token(header)
    if scope["method"] not in READING_METHODS:
        refuse_other_sites(headers)
    return session


def _bearer_token(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip() or token.strip().startswith(SESSION_PREFIX):
        raise NotAuthenticated(
            "You didn't provide an API key. Send it in the Authorization header: Authorization: Bearer tnr_…"
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
        raise PermissionDenied("Only the operator may do this: ask for it, or use an admin key of theirs.")
    return caller


OperatorCaller = Annotated[Caller, Depends(_operator)]
