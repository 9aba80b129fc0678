"""Refuses requests while there are too many connections, in the form of all errors."""

from types import MappingProxyType

from starlette.types import ASGIApp, Receive, Scope, Send

from core.errors import Unavailable


class TooManyConnections(Unavailable):
    """So many connections are open that this process soon has no descriptors left for its work."""

    code = "too_many_connections"
    headers = MappingProxyType({"connection": "close"})


class Crowd:
    """ASGI middleware that refuses a request if `app.state.is_crowded`, and lets its connection end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["app"].state.is_crowded():
            raise TooManyConnections(
                "This server has as many connections as it can hold. Close those that you do not use. Send "
                "the request again in a moment."
            )
        await self._app(scope, receive, send)
