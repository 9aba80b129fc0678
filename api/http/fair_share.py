"""Limits how many requests one key may have in work at once. Its further requests wait for these.

A client that floods the API fills only its own queue, in memory. It takes neither threads nor database
connections from others. The middleware runs before the key is looked up, since the look-up takes a thread and
a connection too. It also runs before routing. So it compares a request's path with the paths of the routes
that `poll` and `takes_no_turn` mark.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.auth import READING_METHODS, is_public
from api.http.cookies import LINK_PATH, SIGN_IN_PATH, session_token

# More requests of a key at once would hardly be answered faster, since the interpreter runs one thread at a
# time. They would slow down the requests of others.
AT_ONCE = 2

# While other keys send requests too, a key has at most one read in work. A read computes more than it waits,
# so a second read would only take the interpreter from others. If a read takes longer than so many seconds,
# it probably waits for something, and the next read may begin.
READS_ALONE = 0.02

# Other keys count as active for so many seconds after their last request.
SHARED_FOR = 10.0

# One thread reads all polls with an ETag together: the more polls there are, the less each of them costs.
POLLS_AT_ONCE = 16

MARK = "_fair_share"
POLL, NO_TURN = "poll", "no turn"

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def poll(endpoint: Endpoint) -> Endpoint:
    """Mark the endpoint of a GET route as a poll.

    A key may have `POLLS_AT_ONCE` of these requests at work if they bring an ETag.
    """
    setattr(endpoint, MARK, POLL)
    return endpoint


def takes_no_turn(endpoint: Endpoint) -> Endpoint:
    """Mark the endpoint of a POST route: its requests begin at once, and keep no other request waiting."""
    setattr(endpoint, MARK, NO_TURN)
    return endpoint


class FairShare:
    """ASGI middleware. A request's turn ends when its answer begins, so that a slow reader stops nobody.

    `routes` are the routes of the API. Their marks are read once, when the middleware is made.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        routes = list(routes)
        self._polls = _paths(routes, POLL, method="GET")
        self._without_turn = _paths(routes, NO_TURN, method="POST")
        self._at_work: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()
        self._latest_key: str | None = None
        self._shared_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._needs_no_turn(scope):
            await self._app(scope, receive, send)
            return
        with ExitStack() as turn:

            async def send_after_the_turn(message: Message) -> None:
                turn.close()
                await send(message)

            await self._wait_for(turn, scope)
            await self._app(scope, receive, send_after_the_turn)

    def _needs_no_turn(self, scope: Scope) -> bool:
        """Return whether the request begins at once: it is public, or its route is marked.

        Signing in is public, but takes a turn. All clients that have not signed in share these turns.
        """
        if is_public(scope):
            return scope["path"] not in (SIGN_IN_PATH, LINK_PATH)
        return scope["method"] == "POST" and self._without_turn.fullmatch(scope["path"]) is not None

    async def _wait_for(self, turn: ExitStack, scope: Scope) -> None:
        """Wait until the request may begin. Its room becomes free when `turn` is closed."""
        headers = Headers(scope=scope)
        key = headers.get("authorization") or session_token(scope) or ""
        if self._is_tagged_poll(scope, headers):
            await self._enter(turn, key, POLLS_AT_ONCE)
            return
        if self._is_shared(key) and scope["method"] in READING_METHODS:
            reading = turn.enter_context(ExitStack())
            await self._enter(reading, key, 1)
            asyncio.get_running_loop().call_later(READS_ALONE, reading.close)
        await self._enter(turn, key, AT_ONCE)

    def _is_tagged_poll(self, scope: Scope, headers: Headers) -> bool:
        return (
            "if-none-match" in headers
            and scope["method"] == "GET"
            and self._polls.fullmatch(scope["path"]) is not None
        )

    def _is_shared(self, key: str) -> bool:
        """Return whether other keys use this process too."""
        now = time.monotonic()
        if key != self._latest_key:
            if self._latest_key is not None:
                self._shared_until = now + SHARED_FOR
            self._latest_key = key
        return now < self._shared_until

    async def _enter(self, turn: ExitStack, key: str, most: int) -> None:
        """Wait for a place in the key's room for `most` requests, and leave it when `turn` is closed.

        A room lives as long as one of its requests is at work or waits.
        """
        room = self._at_work.get((key, most))
        if room is None:
            room = self._at_work[key, most] = asyncio.Semaphore(most)
        await room.acquire()
        turn.callback(room.release)


def _paths(routes: Iterable[BaseRoute], mark: str, *, method: str) -> re.Pattern[str]:
    """Return one pattern of the paths of all routes with this mark, so that a request needs a single match.

    All of these routes must have the method `method`, which the middleware compares separately.
    """
    found = []
    for route in routes:
        if isinstance(route, APIRoute) and getattr(route.endpoint, MARK, None) == mark:
            assert route.methods == {method}, f"{route.path}: only {method} routes can be marked as '{mark}'"
            # Two routes may name a part of their paths alike, and a pattern has each name only once.
            found.append(re.sub(r"\?P<\w+>", "", route.path_regex.pattern))
    return re.compile("|".join(found) or r"(?!)")
