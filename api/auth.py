"""Who asks. A middleware checks the key before routing and before the body is read: no route forgets it."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from core import keys
from core.errors import NotAuthenticated

# The paths that need no key, compared whole: nothing below or beside them is open.
PUBLIC_PATHS = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})


@dataclass(frozen=True)
class Caller:
    """Whoever holds the key; all that the request may see belongs to the project."""

    project_id: str
    key_id: str


class Authentication:
    """ASGI middleware. Lets public paths and requests with a live key pass, and nothing else."""

    def __init__(self, app: ASGIApp, sessions: sessionmaker[Session]) -> None:
        self._app = app
        self._sessions = sessions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and scope["path"] not in PUBLIC_PATHS:
            token = _bearer_token(Headers(scope=scope).get("authorization", ""))
            scope.setdefault("state", {})["caller"] = await run_in_threadpool(self._identify, token)
        await self._app(scope, receive, send)

    def _identify(self, token: str) -> Caller:
        with self._sessions() as session:
            key = keys.authenticate(session, token)
            return Caller(key.project_id, key.id)


def _bearer_token(header: str) -> str:
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
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
