"""Ignores one slash at the end of a path, because clients write both forms."""

from starlette.types import ASGIApp, Receive, Scope, Send


class TrailingSlash:
    """ASGI middleware that drops one slash from the end of the path, so `/v1/models/` is `/v1/models`.

    It runs after the authentication, where a path must be equal to an open one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            scope["path"] = scope["path"].removesuffix("/")
        await self._app(scope, receive, send)
