"""One request and its answer. The work on it ends early if the client is gone, or if the server ends it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, MutableMapping
from typing import Any

import structlog

from core.errors import AppError, BodyTooSlow, TooLarge
from core.serving.errors import SamplingFailed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MAX_BODY_BYTES = 4 * 1024**2  # the API takes less
BODY_SECONDS = 10.0
TAKES_NOTHING_SECONDS = 30.0  # a client that takes nothing for so long is given up
LAST_WORD_SECONDS = 2.0
RETRY_AFTER = {503: {"retry-after": "2"}}

log = structlog.get_logger()


class ClientGone(Exception):
    """The client has closed the connection, or takes nothing any more."""


class Exchange:
    """One request. Only the event loop may call."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._work: asyncio.Task[None] | None = None
        self._reason: Exception | None = None
        self.status: int | None = None
        self._streams = False
        self._started = time.monotonic()
        self.facts: dict[str, Any] = {}  # what the log says about the request
        self.generates = False  # whether the first token has come

    @property
    def begun(self) -> bool:
        """Whether the answer has begun. Before that, another server can still answer the request."""
        return self.status is not None

    def header(self, name: bytes) -> str:
        return next((value.decode("latin-1") for key, value in self._scope["headers"] if key == name), "")

    async def run(self, work: Callable[[bytes], Coroutine[Any, Any, None]]) -> None:
        """Read the body and do the work with it. Answer with the error that the work raises, if any."""
        try:
            body = await self._body()
            self._work = asyncio.create_task(work(body))
            watch = asyncio.create_task(self._notice_that_the_client_leaves())
            try:
                await self._work
            finally:
                watch.cancel()
        except asyncio.CancelledError:
            if self._reason is None:  # the server itself ends this task
                raise
            await self._tell(self._reason)
        except Exception as error:
            await self._tell(error)
        finally:
            if self.facts:
                seconds = round(time.monotonic() - self._started, 3)
                log.info("answered", status=self.status, seconds=seconds, **self.facts)

    def end(self, reason: Exception) -> None:
        """Stop the work, and tell the client why, if it is still there."""
        if self._work is not None and not self._work.done() and self._reason is None:
            self._reason = reason
            self._work.cancel()

    async def answer(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
        """Answer with one JSON object, or with the bytes of one. The headers may name another type."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        await self._begin(status, "application/json", headers or {}, len(content))
        await self._send_in_time({"type": "http.response.body", "body": content})

    async def stream(self, events: Iterable[bytes]) -> None:
        """Send events of a stream, and begin the stream with the first ones."""
        if not self.begun:
            self._streams = True
            await self._begin(200, "text/event-stream; charset=utf-8", {"cache-control": "no-cache"})
        body = b"".join(b"data: " + event + b"\n\n" for event in events)
        await self._send_in_time({"type": "http.response.body", "body": body, "more_body": True})

    async def end_stream(self) -> None:
        await self._send_in_time({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _begin(
        self, status: int, media_type: str, headers: dict[str, str], length: int | None = None
    ) -> None:
        self.status = status
        all_headers = {"content-type": media_type, **headers}
        if length is not None:
            all_headers["content-length"] = str(length)
        raw = [(name.encode(), value.encode()) for name, value in all_headers.items()]
        await self._send_in_time({"type": "http.response.start", "status": status, "headers": raw})

    async def _send_in_time(self, message: Message) -> None:
        try:
            async with asyncio.timeout(TAKES_NOTHING_SECONDS):
                await self._send(message)
        except TimeoutError as error:
            raise ClientGone from error

    async def _body(self) -> bytes:
        parts, size = [], 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await self._receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > MAX_BODY_BYTES:
                        raise TooLarge(f"The body has more than {MAX_BODY_BYTES} bytes.")
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError as error:
            raise BodyTooSlow("The body did not arrive in time.") from error

    async def _notice_that_the_client_leaves(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.end(ClientGone())

    async def _tell(self, reason: Exception) -> None:
        """Answer with the error, or end the stream with it."""
        if isinstance(reason, ClientGone):
            self.facts["gone"] = True
            return
        if not isinstance(reason, AppError):
            log.error("request_failed", exc_info=reason)
            reason = SamplingFailed("The request failed. The server's log says why.")
        self.facts["error"] = reason.code
        try:
            async with asyncio.timeout(LAST_WORD_SECONDS):
                await self._say(reason)
        except (TimeoutError, ClientGone):
            self.facts["gone"] = True

    async def _say(self, error: AppError) -> None:
        body = error.body()
        if not self.begun:
            await self.answer(error.status, body, RETRY_AFTER.get(error.status, {}) | dict(error.headers))
        elif self._streams:
            await self.stream([json.dumps(body).encode()])
            await self._send({"type": "http.response.body", "body": b""})
