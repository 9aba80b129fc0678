"""The outermost layer of a request: its id, its line in the log, and its error in OpenAI's form."""

import re
import time
import traceback

import anyio
import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.admission.bodies import has_body
from api.http.errors import InternalError, error_response, expected
from api.monitoring.request_span import PROBES, begin_request_span, complete_request_span, tell_trace
from api.monitoring.requests import note_error
from core.errors import AppError, InvalidRequest
from core.ids import new_id

SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

# A client that still sends its body when the connection closes may never see the answer. So the server reads
# the body of a refused request to its end, up to so many bytes and seconds.
DRAIN_BYTES = 64 * 1024**2
DRAIN_SECONDS = 5.0

log = structlog.get_logger()


class Boundary:
    """ASGI middleware around all others, also around the authentication."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = Exchange(scope, receive, send)
        with structlog.contextvars.bound_contextvars(request_id=exchange.request_id), exchange.span:
            try:
                _refuse_nul(scope)
                await self._app(scope, exchange.receive, exchange.send)
            except ClientDisconnect:
                log.info("client_disconnected")
                exchange.abort()
            except Exception as error:
                await exchange.answer(error)
            finally:
                exchange.end()


class Exchange:
    """One request and its response, while they pass through."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        self.request_id = given if SANE_REQUEST_ID.fullmatch(given) else new_id("req_")
        self._body_pending = has_body(headers)
        self._awaits_continue = "expect" in headers
        self._started = time.monotonic()
        scope.setdefault("state", {}).update(request_id=self.request_id, arrived=self._started)
        self._seconds: float | None = None
        self._status: int | None = None
        self.span = begin_request_span(scope, self.request_id)

    async def receive(self) -> Message:
        message = await self._receive()
        self._awaits_continue = False
        if message["type"] != "http.request" or not message.get("more_body"):
            self._body_pending = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self.request_id
            tell_trace(self.span, headers)
            if self._status >= 400:
                await self._drain()
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            self._seconds = time.monotonic() - self._started

    async def answer(self, error: Exception) -> None:
        """Answer a failed request. If the response has begun, raise the error: the connection breaks."""
        known = expected(error)
        if known is None:
            # The traceback is text here: a renderer might print local variables, with keys and rows in them.
            log.error("request_failed", exception="".join(traceback.format_exception(error)))
        elif known.status >= 500:
            log.warning("request_unavailable", cause=str(error))
        if self._status is not None:
            raise error
        answered = known or self._internal()
        note_error(self._scope, answered.code)
        await error_response(answered)(self._scope, self.receive, self.send)

    def abort(self) -> None:
        """Break the connection to a client that has left, or that hardly reads."""
        if abort := self._scope["state"].get("abort"):
            abort()

    def end(self) -> None:
        """Count the request, and write its line in the log."""
        seconds = self._seconds or time.monotonic() - self._started
        self._scope["app"].state.request_counts.count(self._scope, self._status, seconds)
        caller = self._scope.get("state", {}).get("caller")
        complete_request_span(self.span, self._scope, self._status)
        write = log.debug if self._scope["path"] in PROBES else log.info
        write(
            "request",
            method=self._scope["method"],
            path=self._scope["path"],
            status=self._status,
            seconds=round(seconds, 4),
            project=getattr(caller, "project_id", None),
            key=getattr(caller, "key_id", None),
        )

    def _internal(self) -> AppError:
        return InternalError(
            f"The server failed to process this request. Its log has the reason, under {self.request_id}."
        )

    async def _drain(self) -> None:
        """Read the rest of the body, unless the client waits for `100 Continue` before it sends the body."""
        drained = 0
        with anyio.move_on_after(DRAIN_SECONDS):
            while self._body_pending and not self._awaits_continue and drained < DRAIN_BYTES:
                message = await self.receive()
                drained += len(message.get("body", b""))


def _refuse_nul(scope: Scope) -> None:
    """Raise InvalidRequest if the URL holds a NUL. Postgres cannot compare with one, and no id holds one."""
    if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
        raise InvalidRequest("The URL holds a NUL character. Remove it.", code="invalid_url")
