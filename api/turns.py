"""Room for everybody: a key has a few requests in work at once, and its further ones wait for these.

So whoever floods the API queues behind themselves, in memory, and takes neither the threads nor the database
connections from others. It holds before the key is looked up: that costs a thread and a connection as well.
"""

import asyncio
import re
from contextlib import ExitStack
from weakref import WeakValueDictionary

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.auth import is_public
from api.session.cookies import SIGN_IN_PATH, session_token

# More would hardly make a process faster, whose interpreter runs one thread at a time, and others slower.
AT_ONCE = 2

# Those that bring an ETag are read together, by one thread: the more of them, the less each costs.
POLLS_AT_ONCE = 16
TAGGED_POLL = re.compile(r"/v1/fine_tuning/jobs/[^/]+")

UPLOADS = re.compile(r"/v1/files|/v1/uploads/[^/]+/(parts|complete)")


class Turns:
    """ASGI middleware. A request's turn lasts until its answer begins: who reads slowly stops nobody.

    An upload takes none: it mostly waits for its client or the object store, and works a block at a time.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._at_work: WeakValueDictionary[tuple[str, int], asyncio.Semaphore] = WeakValueDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _needs_no_turn(scope):
            await self._app(scope, receive, send)
            return
        with ExitStack() as turn:

            async def send_after_the_turn(message: Message) -> None:
                turn.close()
                await send(message)

            at_work = self._room_for(scope)
            await at_work.acquire()
            turn.callback(at_work.release)
            await self._app(scope, receive, send_after_the_turn)

    def _room_for(self, scope: Scope) -> asyncio.Semaphore:
        """Lives as long as a request of the key does."""
        headers = Headers(scope=scope)
        most = POLLS_AT_ONCE if _is_tagged_poll(scope, headers) else AT_ONCE
        room = headers.get("authorization") or session_token(headers) or "", most
        at_work = self._at_work.get(room)
        if at_work is None:
            at_work = self._at_work[room] = asyncio.Semaphore(most)
        return at_work


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
