"""Room for everybody: a key has a few requests in work at once, and its further ones wait for these.

So whoever floods the API queues behind themselves, in memory, and takes neither the threads nor the database
connections from others. It holds before the key is looked up: that costs a thread and a connection as well.
"""

import asyncio
import re
import time
from contextlib import ExitStack
from weakref import WeakValueDictionary

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.auth import READING_METHODS, is_public
from api.http.cookies import SIGN_IN_PATH, session_token

# More would hardly make a process faster, whose interpreter runs one thread at a time, and others slower.
AT_ONCE = 2

# Where others ask too, one of them is a read: it computes more than it waits, so that a second one would only
# take the interpreter from the others. After so many seconds it is taken to wait for something after all.
READS_ALONE = 0.02

# Seconds for which others count after a request of theirs.
SHARED_FOR = 10.0

# Those that bring an ETag are read together, by one thread: the more of them, the less each costs.
POLLS_AT_ONCE = 16
TAGGED_POLL = re.compile(r"/v1/fine_tuning/jobs/[^/]+")

UPLOADS = re.compile(r"/v1/files|/v1/uploads/[^/]+/(parts|complete)")


class FairShare:
    """ASGI middleware. A request's turn lasts until its answer begins: who reads slowly stops nobody.

    An upload takes none: it mostly waits for its client or the object store, and works a block at a time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._at_work: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()
        self._latest_key: str | None = None
        self._shared_until = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _needs_no_turn(scope):
            await self._app(scope, receive, send)
            return
        with ExitStack() as turn:

            async def send_after_the_turn(message: Message) -> None:
                turn.close()
                await send(message)

            await self._wait_for(turn, scope)
            await self._app(scope, receive, send_after_the_turn)

    async def _wait_for(self, turn: ExitStack, scope: Scope) -> None:
        """Until there is room, which is free again when the turn is over."""
        headers = Headers(scope=scope)
        key = headers.get("authorization") or session_token(headers) or ""
        if _is_tagged_poll(scope, headers):
            await self._enter(turn, key, POLLS_AT_ONCE)
            return
        if self._is_shared(key) and scope["method"] in READING_METHODS:
            reading = turn.enter_context(ExitStack())
            await self._enter(reading, key, 1)
            asyncio.get_running_loop().call_later(READS_ALONE, reading.close)
        await self._enter(turn, key, AT_ONCE)

    def _is_shared(self, key: str) -> bool:
        """Whether other keys ask this process too."""
        now = time.monotonic()
        if key != self._latest_key:
            if self._latest_key is not None:
                self._shared_until = now + SHARED_FOR
            self._latest_key = key
        return now < self._shared_until

    async def _enter(self, turn: ExitStack, key: str, most: int) -> None:
        """A room of a key lives as long as one of its requests is there, or waits."""
        room = self._at_work.get((key, most))
        if room is None:
            room = self._at_work[key, most] = asyncio.Semaphore(most)
        await room.acquire()
        turn.callback(room.release)


def _is_tagged_poll(scope: Scope, headers: Headers) -> bool:
    return (
        "if-none-match" in headers
        and scope["method"] == "GET"
        and TAGGED_POLL.fullmatch(scope["path"]) is not None
    )


def _needs_no_turn(scope: Scope) -> bool:
    """Signing in is public, and takes one: all who have not signed in yet share theirs."""
    return (is_public(scope) and scope["path"] != SIGN_IN_PATH) or _is_upload(scope)


def _is_upload(scope: Scope) -> bool:
    return scope["method"] == "POST" and UPLOADS.fullmatch(scope["path"]) is not None
