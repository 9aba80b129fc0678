"""Small ASGI middleware: compression, a refusal in a crowd, and slashes at the end of a path."""

from types import MappingProxyType

from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import Unavailable

LEAST_BYTES = 2048
LEVEL = 5  # level 9 takes three times as long for an answer that is 5 % smaller
NOT_JSON = (
    *("audio/*", "font/*", "image/*", "text/*", "video/*"),
    *("application/octet-stream", "application/zip", "application/javascript", "application/manifest+json"),
)


class Compression(GZipMiddleware):
    """Compresses large JSON answers, such as the API's own document, for clients that take gzip.

    Starlette does the work, in a thread if an answer is large. Everything but JSON passes as it is: the build
    of the dashboard has compressed copies, streams of events compress themselves, and downloads may be asked
    for in parts. No answer that can be read twice holds a secret, so the length of an answer tells nobody
    one.
    """

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(app, LEAST_BYTES, LEVEL, exclude_content_types=NOT_JSON)


class TooManyConnections(Unavailable):
    """So many connections are open that this process soon has no descriptors left for its work."""

    code = "too_many_connections"
    headers = MappingProxyType({"connection": "close"})


class Crowd:
    """Refuses a request if `app.state.is_crowded`, in the form of all errors, and lets its connection end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["app"].state.is_crowded():
            raise TooManyConnections(
                "This server has as many connections as it can hold. Close those that you do not use. Send "
                "the request again in a moment."
            )
        await self._app(scope, receive, send)


class TrailingSlash:
    """Drops one slash from the end of the path, because clients write both `/v1/models/` and `/v1/models`.

    It runs after the authentication, where a path must be equal to an open one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            scope["path"] = scope["path"].removesuffix("/")
        await self._app(scope, receive, send)
