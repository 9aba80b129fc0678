"""Bounds the connections of strangers, who have not shown the token: how many, how long, how many bytes.

So nobody but the API and the workers can take memory or descriptors from a server. A stranger's connection is
not closed with its answer: it would be reset before a client that still sends has read why.
"""

import asyncio
from functools import partial
from typing import Any

from starlette.types import Scope

AT_ONCE = 64  # the oldest ones make room for others
SHOW_SECONDS = 2.0  # in which many connections that come at once may all show the token
SECONDS = 10.0  # in which the headers must come, and their answer must be taken
BYTES = 2 * 1024**2

KEY = "no_stranger"


class Strangers:
    """The open connections of strangers. Only the event loop may call."""

    def __init__(self, at_once: int = AT_ONCE, seconds: float = SECONDS) -> None:
        self._at_once, self._seconds = at_once, seconds
        self._timers: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    def __contains__(self, transport: asyncio.Transport) -> bool:
        return transport in self._timers

    def add(self, transport: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        self._timers[transport] = loop.call_later(self._seconds, transport.abort)
        if len(self._timers) > self._at_once:
            loop.call_later(min(SHOW_SECONDS, self._seconds), self._make_room)

    def _make_room(self) -> None:
        """Close the connections that have been strangers for longest, if there are too many still."""
        while len(self._timers) > self._at_once:
            oldest = next(iter(self._timers))
            self.remove(oldest)
            oldest.abort()

    def remove(self, transport: asyncio.Transport) -> None:
        """Forget a connection that is closed, or whose client has shown the token."""
        if timer := self._timers.pop(transport, None):
            timer.cancel()


def guarded(protocol: Any, strangers: Strangers) -> type[asyncio.Protocol]:
    """Return uvicorn's protocol, with the bounds of strangers."""

    class Guarded(protocol):
        app_state: dict[str, Any]
        transport: asyncio.Transport
        unknown_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:
            strangers.add(transport)
            self.app_state = {**self.app_state, KEY: partial(strangers.remove, transport)}
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            if self.transport in strangers:
                self.unknown_bytes += len(data)
                if self.unknown_bytes > BYTES:
                    self.transport.abort()
                    return
            super().data_received(data)

        def connection_lost(self, error: Exception | None) -> None:
            strangers.remove(self.transport)
            super().connection_lost(error)

    return Guarded


def no_stranger(scope: Scope) -> None:
    """Lift the bounds of the request's connection, which has shown the token."""
    if lift := scope.get("state", {}).get(KEY):
        lift()
