"""One request and its answer. The work on it ends early if the client is gone, or if the server ends it."""

import asyncio
import json
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from core.errors import AppError, BodyTooSlow, TooLarge
from core.serving.errors import SamplingFailed
from core.serving.paths import CHAT, COMPLETIONS
from core.serving.token import PROJECT_HEADER, USAGE_HEADER
from core.tracing import spans

MAX_BODY_BYTES = 32 * 1024**2  # the API takes less; a row of an eval may have 24 MiB
BODY_SECONDS = 10.0
TAKES_NOTHING_SECONDS = 30.0  # a client that takes nothing for so long is given up
LAST_WORD_SECONDS = 2.0
RETRY_AFTER = {503: {"retry-after": "2"}}
STREAM = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache")]

# What OpenTelemetry calls the work of a path
OPERATIONS = {CHAT: "chat", COMPLETIONS: "text_completion"}
# The facts that a trace shows, with the names that OpenTelemetry gives them for all programs. No other span
# tells of tokens, because viewers add them up.
TRACED = {
    "base": "gen_ai.request.model",
    "adapter": "tunery.adapter.sha256",
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "cached_tokens": "gen_ai.usage.cache_read.input_tokens",
    "gone": "tunery.client_left",
}

log = structlog.get_logger()


class ClientGone(Exception):
    """The client has closed the connection, or takes nothing any more."""


Check = Callable[[Request], None]
Work = Callable[["Exchange", bytes], Coroutine[Any, Any, None]]


class Exchange:
    """One request, and the ASGI application that answers it. Only the event loop may call."""

    def __init__(
        self,
        request: Request,
        check: Check,
        work: Work,
        ended: Callable[["Exchange"], None],
        *,
        traced: bool = False,
    ) -> None:
        """`check` sees the headers before the body is read. `work` gets the body and gives the answer.

        `ended` is called at the end, also after an error. `traced` is for requests whose paths are few.
        """
        self.request, self._check, self._do, self._ended = request, check, work, ended
        self._work: asyncio.Task[None] | None = None
        self._reason: Exception | None = None
        self.status: int | None = None  # before the answer has begun, another server can still answer
        self._streams = False
        self._started = time.monotonic()
        self.facts: dict[str, Any] = {}  # what the log says about the request
        self.generates = False  # whether the first token has come
        self.usage: Any = None  # what was computed for it so far
        self.body_bytes = 0
        self.span = self._begin_span() if traced else spans.NOTHING

    @property
    def project(self) -> str:
        """The opaque name of the project that asks. Requests without a name count as those of one project."""
        return self.request.headers.get(PROJECT_HEADER, "")

    @property
    def seconds(self) -> float:
        """The time since the request came."""
        return time.monotonic() - self._started

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Read the body and do the work with it. Answer with the error that check or work raises, if any."""
        self._send = send
        with self.span:
            await self._exchange()

    async def _exchange(self) -> None:
        try:
            self._check(self.request)
            body = await self._body()
            self.body_bytes = len(body)
            self._work = asyncio.create_task(self._do(self, body))
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
                log.info("answered", status=self.status, seconds=round(self.seconds, 3), **self.facts)
            self._complete_span()
            self._ended(self)

    def _begin_span(self) -> spans.Span:
        """Begin the span of this request, which goes on with the trace of the API."""
        path = self.request.url.path
        known = {"http.request.method": self.request.method, "http.route": path}
        if operation := OPERATIONS.get(path):
            known |= {"gen_ai.operation.name": operation, "gen_ai.provider.name": "tunery"}
        return spans.answering(f"{self.request.method} {path}", known, self.request.headers)

    def _complete_span(self) -> None:
        self.span.set({name: self.facts[fact] for fact, name in TRACED.items() if self.facts.get(fact)})
        if self.status is not None:
            self.span.set({"http.response.status_code": self.status})
        if error := self.facts.get("error"):
            self.span.fail(error)

    def end(self, reason: Exception) -> None:
        """Stop the work, and tell the client why, if it is still there."""
        if self._work is not None and not self._work.done() and self._reason is None:
            self._reason = reason
            self._work.cancel()

    async def answer(self, status: int, content: bytes) -> None:
        """Answer with the bytes of one JSON object, and tell what was computed for it."""
        headers = None if self.usage is None else {USAGE_HEADER: json.dumps(self.usage)}
        await self._respond(Response(content, status, headers, media_type="application/json"))

    async def stream(self, events: Iterable[bytes]) -> None:
        """Send events of a stream, and begin the stream with the first ones."""
        if self.status is None:
            self.status, self._streams = 200, True
            await self._send_in_time({"type": "http.response.start", "status": 200, "headers": STREAM})
        body = b"".join(b"data: " + event + b"\n\n" for event in events)
        await self._send_in_time({"type": "http.response.body", "body": body, "more_body": True})

    async def end_stream(self) -> None:
        await self._send_in_time({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def _respond(self, response: Response) -> None:
        self.status = response.status_code
        await response(self.request.scope, self.request.receive, self._send_in_time)

    async def _send_in_time(self, message: Message) -> None:
        try:
            async with asyncio.timeout(TAKES_NOTHING_SECONDS):
                await self._send(message)
        except TimeoutError as error:
            raise ClientGone from error

    async def _body(self) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(BODY_SECONDS):
                async for part in self.request.stream():
                    body += part
                    if len(body) > MAX_BODY_BYTES:
                        raise TooLarge(f"The body has more than {MAX_BODY_BYTES} bytes.")
        except TimeoutError as error:
            raise BodyTooSlow("The body did not arrive in time.") from error
        except ClientDisconnect as error:
            raise ClientGone from error
        return bytes(body)

    async def _notice_that_the_client_leaves(self) -> None:
        while (await self.request.receive())["type"] != "http.disconnect":
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
        if self.status is None:
            headers = RETRY_AFTER.get(error.status, {}) | dict(error.headers)
            await self._respond(JSONResponse(error.body(), error.status, headers))
        elif self._streams:
            await self.stream([json.dumps(error.body()).encode()])
            await self._send({"type": "http.response.body", "body": b""})
