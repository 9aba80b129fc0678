"""Reads the body of a request before the request takes its permit, so that a slow sender holds up nobody.

Files are not read here: their endpoints take no permit, and handle the bytes while they arrive.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.admission.auth import READING_METHODS, required_role
from api.admission.marks import Endpoint, mark, marked_paths
from core.errors import BodyTooSlow, TooLarge, Unavailable

MAX_JSON_BYTES = 1024**2
BODY_SECONDS = 10.0
MAX_BYTES_WITH_IMAGES = 8 * 1024**2
SECONDS_WITH_IMAGES = 60.0

# A sign-in is far shorter. Everybody may send one, so its body gets little memory.
MAX_STRANGER_BYTES = 4096

# The bodies in memory whose requests are not answered yet: all of them, and those of one owner. An owner is a
# project, or all strangers together.
HELD_BYTES = 64 * 1024**2
OWNER_BYTES = 16 * 1024**2

STREAMED = "streamed"
WITH_IMAGES = "with images"
STRANGERS = ""


def streams_body(endpoint: Endpoint) -> Endpoint:
    """Mark the endpoint of a POST route that reads its body itself, while the body arrives."""
    return mark(endpoint, STREAMED)


def takes_images(endpoint: Endpoint) -> Endpoint:
    """Mark the endpoint of a POST route whose body may have images, and is longer then."""
    return mark(endpoint, WITH_IMAGES)


def has_body(headers: Headers) -> bool:
    """Return whether the request has a body, by its headers."""
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


class WholeBodies:
    """ASGI middleware that passes a request on when its body is there.

    A body must arrive within `BODY_SECONDS`, and may have `MAX_JSON_BYTES`. It has more of both where it may
    have images.
    """

    def __init__(self, app: ASGIApp, routes: Iterable[BaseRoute]) -> None:
        self._app = app
        routes = list(routes)
        self._streamed = marked_paths(routes, STREAMED, method="POST")
        self._with_images = marked_paths(routes, WITH_IMAGES, method="POST")
        self._held = HeldBytes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or self._may_wait(scope):
            await self._app(scope, receive, send)
            return
        with ExitStack() as held:
            body = await self._read(scope, receive, held)
            await self._app(scope, _replayed(body, receive), send)

    def _may_wait(self, scope: Scope) -> bool:
        """Return whether no body is to be read here."""
        if scope["method"] in READING_METHODS or not has_body(Headers(scope=scope)):
            return True
        caller = scope["state"].get("caller")
        if caller is not None and not caller.role.includes(required_role(scope)):
            return True  # `Roles` refuses it
        return scope["method"] == "POST" and self._streamed.fullmatch(scope["path"]) is not None

    async def _read(self, scope: Scope, receive: Receive, held: ExitStack) -> bytes:
        """Return the whole body. It counts as held until `held` is closed.

        Raises TooLarge, BodyTooSlow, Unavailable and ClientDisconnect.
        """
        caller = scope["state"].get("caller")
        owner = STRANGERS if caller is None else caller.project_id
        most, seconds = self._bounds(scope)
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdecimal() and int(announced) > most:
            raise _too_large(most)
        body = bytearray()
        try:
            async with asyncio.timeout(seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise ClientDisconnect
                    chunk = message.get("body", b"")
                    if len(body) + len(chunk) > most:
                        raise _too_large(most)
                    self._held.add(owner, len(chunk), held)
                    body += chunk
                    if not message.get("more_body"):
                        return bytes(body)
        except TimeoutError:
            raise BodyTooSlow(
                f"The body did not arrive within {seconds:g} s. Check that content-length is right and "
                "that the whole body is sent, and send the request again."
            ) from None

    def _bounds(self, scope: Scope) -> tuple[int, float]:
        """Return the most bytes of the request's body, and the seconds in which it must arrive."""
        if scope["state"].get("caller") is None:
            return MAX_STRANGER_BYTES, BODY_SECONDS
        if scope["method"] == "POST" and self._with_images.fullmatch(scope["path"]) is not None:
            return MAX_BYTES_WITH_IMAGES, SECONDS_WITH_IMAGES
        return MAX_JSON_BYTES, BODY_SECONDS


class HeldBytes:
    """Counts the bytes of bodies that are in memory, by their owner."""

    def __init__(self, most: int = HELD_BYTES, most_of_owner: int = OWNER_BYTES) -> None:
        self._most, self._most_of_owner = most, most_of_owner
        self._of: Counter[str] = Counter()

    def add(self, owner: str, count: int, held: ExitStack) -> None:
        """Count more bytes until `held` is closed. Raises Unavailable if too many are held already."""
        if self._of[owner] + count > self._most_of_owner or self._of.total() + count > self._most:
            raise Unavailable("Too many large requests wait for an answer. Send fewer of them at once.")
        self._of[owner] += count
        held.callback(self._remove, owner, count)

    def _remove(self, owner: str, count: int) -> None:
        self._of[owner] -= count
        if not self._of[owner]:
            del self._of[owner]


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the body first, and then what `receive` gives: the disconnect."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay


def _too_large(most: int) -> TooLarge:
    return TooLarge(
        f"The JSON body is too large: it may have {most} bytes at most.", code="request_too_large"
    )
