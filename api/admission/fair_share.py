"""Limits how many requests one project may have in work at once. Its further requests wait for these.

A project that floods the API fills only its own queue, in memory. It takes neither threads nor database
connections from others. The middleware runs after `Authentication`, which finds the project, and after
`WholeBodies`, so that no request holds a permit while its body arrives. It runs before routing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from typing import Annotated
from weakref import WeakValueDictionary

from fastapi import Depends, Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.admission.auth import READING_METHODS, is_public
from api.admission.cookies import LINK_PATH, SIGN_IN_PATH
from api.admission.marks import Endpoint, mark, marked_paths
from api.admission.strangers import Strangers

# More requests of a project at once would hardly be answered faster, since the interpreter runs one thread at
# a time. They would slow down the requests of others.
AT_ONCE = 2

# While other projects send requests too, a project has at most one read in work. A read computes more than it
# waits, so a second read would only take the interpreter from others. If a read takes longer than so many
# seconds, it probably waits for something, and the next read may begin.
READS_ALONE = 0.02

# Other projects count as active for so many seconds after their last request.
SHARED_FOR = 10.0

# One thread reads all polls together: the more polls there are, the less each of them costs. But others wait
# for all that are at work, and 16 would not be answered faster than 8.
POLLS_AT_ONCE = 8

POLL, NO_PERMIT = "poll", "no permit"


def poll(endpoint: Endpoint) -> Endpoint:
    """Mark the endpoint of a GET route as a poll.

    A project may have `POLLS_AT_ONCE` of these requests at work.
    """
    return mark(endpoint, POLL)


def takes_no_permit(endpoint: Endpoint) -> Endpoint:
    """Mark the endpoint of a POST route: its requests begin at once, and keep no other request waiting.

    The endpoint takes a `ShortPermit` for a part of its work that may wait for locks in the database.
    """
    return mark(endpoint, NO_PERMIT)


async def _short_permit(request: Request) -> Callable[[], AbstractAsyncContextManager[None]]:
    short_permit: Callable[[], AbstractAsyncContextManager[None]] = request.state.short_permit
    return short_permit


ShortPermit = Annotated[Callable[[], AbstractAsyncContextManager[None]], Depends(_short_permit)]


async def _release_permit(request: Request) -> Callable[[], None]:
    release_permit: Callable[[], None] = request.state.release_permit
    return release_permit


# Releases the request's permit before its answer begins, since the endpoint only waits from now on
ReleasePermit = Annotated[Callable[[], None], Depends(_release_permit)]


class FairShare:
    """ASGI middleware. A request gives its permit back when its answer begins: a slow reader stops nobody.

    `routes` are the routes of the API. Their marks are read once, when the middleware is made.
    """

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[BaseRoute],
        strangers: Strangers,
        reads_alone: float = READS_ALONE,
        shared_for: float = SHARED_FOR,
    ) -> None:
        self._app = app
        self._reads_alone, self._shared_for = reads_alone, shared_for
        routes = list(routes)
        self._polls = marked_paths(routes, POLL, method="GET")
        self._without_permit = marked_paths(routes, NO_PERMIT, method="POST")
        self._strangers = strangers
        self._at_work: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()
        self._latest_project: str | None = None
        self._shared_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._needs_no_permit(scope):
            if caller := scope.get("state", {}).get("caller"):
                scope["state"]["short_permit"] = partial(self._short_permit, caller.project_id)
            await self._app(scope, receive, send)
            return
        with ExitStack() as permit:

            async def release_and_send(message: Message) -> None:
                permit.close()
                await send(message)

            await self._wait_for(permit, scope)
            scope["state"]["release_permit"] = permit.close
            await self._app(scope, receive, release_and_send)

    def _needs_no_permit(self, scope: Scope) -> bool:
        """Return whether the request begins at once: it is public, or its route is marked.

        Signing in is public, but takes a permit of the strangers.
        """
        if is_public(scope):
            return scope["path"] not in (SIGN_IN_PATH, LINK_PATH)
        return scope["method"] == "POST" and self._without_permit.fullmatch(scope["path"]) is not None

    async def _wait_for(self, permit: ExitStack, scope: Scope) -> None:
        """Wait until the request may begin. It holds its permit until `permit` is closed."""
        caller = scope["state"].get("caller")
        if caller is None:
            await self._strangers.enter(permit)
            return
        project = caller.project_id
        if self._is_poll(scope):
            await self._enter(permit, project, POLLS_AT_ONCE)
            return
        if self._is_shared(project) and scope["method"] in READING_METHODS:
            reading = permit.enter_context(ExitStack())
            await self._enter(reading, project, 1)
            asyncio.get_running_loop().call_later(self._reads_alone, reading.close)
        await self._enter(permit, project, AT_ONCE)

    def _is_poll(self, scope: Scope) -> bool:
        return scope["method"] == "GET" and self._polls.fullmatch(scope["path"]) is not None

    def _is_shared(self, project: str) -> bool:
        """Return whether other projects use this process too."""
        now = time.monotonic()
        if project != self._latest_project:
            if self._latest_project is not None:
                self._shared_until = now + self._shared_for
            self._latest_project = project
        return now < self._shared_until

    @asynccontextmanager
    async def _short_permit(self, project: str) -> AsyncIterator[None]:
        """Wait for a permit of the project, and release it with the context."""
        with ExitStack() as permit:
            await self._enter(permit, project, AT_ONCE)
            yield

    async def _enter(self, permit: ExitStack, project: str, most: int) -> None:
        """Wait for one of the project's `most` permits, and release it when `permit` is closed.

        The semaphore lives as long as one of its requests is at work or waits.
        """
        permits = self._at_work.get((project, most))
        if permits is None:
            permits = self._at_work[project, most] = asyncio.Semaphore(most)
        await permits.acquire()
        permit.callback(permits.release)
