"""The answer to a chat or completion: waits for a permit and a server, and hands on what the server says.

The work ends when the client leaves, and with it the work of the server.
"""

import asyncio
import json
from typing import Any

import httpx
import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.admission.callers import Caller
from api.chat.afterwards import Finished
from api.chat.errors import error_event
from api.chat.shared import ChatComponents
from api.chat.stream import Passage, asked_of_server
from api.http.leaving import while_client_waits
from api.http.sending import send_in_time
from api.models.chat_models import ChatModel
from api.stored_completions.service import may_store
from core.errors import AppError, NotAuthenticated, Unavailable
from core.serving.dispatch.errors import ServerLost
from core.serving.event_stream import events_of
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.completions import CompletionRequest
from core.serving.schemas.tokens import TokenizeRequest
from core.serving.served_model import SERVED_FIELD
from core.serving.stored_completions import MAX_BYTES
from core.serving.token import USAGE_HEADER
from core.tracing import spans

COUNT_SECONDS = 2.0  # for which an answer waits until its tokens are counted
PART_BYTES = 64 * 1024  # of a whole answer, which the client must take in time

Headers = list[tuple[bytes, bytes]]
OF_STREAM: Headers = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

log = structlog.get_logger()


class Relay(Response):
    """A response that is computed while it is sent."""

    def __init__(
        self,
        components: ChatComponents,
        path: str,
        request: ChatRequest | CompletionRequest | TokenizeRequest,
        model: ChatModel,
        caller: Caller,
    ) -> None:
        """`path` is the path of the same operation at a server."""
        super().__init__()
        self._components, self._path, self._request, self._model = components, path, request, model
        self._caller = caller
        self._sampling = None if isinstance(request, TokenizeRequest) else request
        self._streams = self._sampling is not None and bool(self._sampling.stream)
        self._keeps = self._sampling is not None and may_store(caller, self._sampling)
        self._head = OF_STREAM
        self._begun = self._counted = False
        self._usage: dict[str, Any] | None = None  # as far as the server has told it
        self._whole: bytes | None = None
        self._events: list[bytes] = []

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        with self._components.live_keys.watched(self._caller) as key_ended:
            async with while_client_waits(receive):
                last = await self._last_part(send, key_ended)
        await self._send(send, last, more=False)

    async def _last_part(self, send: Send, key_ended: asyncio.Event) -> bytes:
        """Send all but the last part of the answer, and return that. It may say why the answer ends early."""
        work = asyncio.create_task(self._answer(send))
        ended = asyncio.create_task(key_ended.wait())
        stopping = asyncio.create_task(self._components.stopping.wait())
        try:
            await asyncio.wait((work, ended, stopping), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (work, ended, stopping):
                task.cancel()
            await asyncio.gather(work, return_exceptions=True)
        if not work.cancelled():
            return work.result()
        return self._last_word(_key_ended() if key_ended.is_set() else _stopping())

    async def _answer(self, send: Send) -> bytes:
        """Hand the answer on, and return its last part when its tokens are counted."""
        try:
            last = await self._handed_on(send)
        except (httpx.HTTPError, ValueError) as error:
            log.warning("answer_broken", error=repr(error))
            return self._last_word(
                ServerLost("The server stopped before the answer was complete. Send the request again.")
            )
        await self._components.afterwards.settle(COUNT_SECONDS)
        return last

    async def _handed_on(self, send: Send) -> bytes:
        """Hand the answer on, and return its last part. Raises httpx.HTTPError or ValueError if it breaks."""
        project, request = self._caller.project_id, self._request
        permit = self._components.permits.permit(
            project, self._caller.quotas.concurrent_chats or 1, request.answers
        )
        async with spans.entering("chat.permit", permit):
            try:
                async with self._components.dispatcher.begun(
                    self._path,
                    self._model.served,
                    request.beginning,
                    self._body(),
                    project,
                    self._note,
                    request.answers,
                ) as answer:
                    hand_on = self._hand_on_stream if self._streams else self._hand_on_whole
                    return await hand_on(answer, send)
            finally:
                self._note(self._usage)

    def _body(self) -> bytes:
        """Return the request as a server gets it."""
        body = self._request.model_dump(exclude_unset=True, by_alias=True)
        body |= {"model": self._model.name, SERVED_FIELD: self._model.served.as_sent()}
        if body.get("stream"):
            body["stream_options"] = asked_of_server()
        return json.dumps(body, ensure_ascii=False).encode()

    async def _hand_on_whole(self, answer: httpx.Response, send: Send) -> bytes:
        """Hand on a whole answer but for its last part, and return that. Raises httpx.HTTPError."""
        self._head = [(b"content-type", b"application/json")]
        if length := answer.headers.get("content-length"):
            self._head.append((b"content-length", length.encode()))
        self._usage = json.loads(answer.headers.get(USAGE_HEADER, "null"))
        kept, last = bytearray(), b""
        async for part in answer.aiter_raw(PART_BYTES):
            if last:
                await self._send(send, last)
            last = part
            if self._keeps and len(kept) <= MAX_BYTES:
                kept += part
        if 0 < len(kept) <= MAX_BYTES:
            self._whole = bytes(kept)
        return last

    async def _hand_on_stream(self, answer: httpx.Response, send: Send) -> bytes:
        """Hand on a stream but for its last part, and return that. Raises httpx.HTTPError or ValueError."""
        passage = Passage(
            None if self._sampling is None else self._sampling.stream_options, keeps=self._keeps
        )
        self._events = passage.events
        async for events in events_of(answer.aiter_raw()):
            body = passage.hand_on(events)
            self._usage = passage.usage
            if passage.over:
                return body
            await self._send(send, body)
        raise ValueError("the stream has no end")

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        """Send a part of the answer. Raises ClientDisconnect if the client does not take it in time."""
        if not self._begun:
            self._begun = True
            spans.current().event("first_byte")
            await send_in_time(send, {"type": "http.response.start", "status": 200, "headers": self._head})
        await send_in_time(send, {"type": "http.response.body", "body": body, "more_body": more})

    def _last_word(self, error: AppError) -> bytes:
        """Return the event that tells why a stream ends early. Raise the error if none has begun."""
        if self._streams and self._begun:
            return error_event(error)
        raise error

    def _note(self, usage: dict[str, Any] | None) -> None:
        """Count the answer once, if its tokens are known."""
        if usage is None or self._counted or self._sampling is None:
            return
        self._counted = True
        content = self._whole, self._events
        finished = Finished(self._caller, self._sampling, self._model.name, usage, *content)
        self._components.afterwards.note(finished)


def _key_ended() -> NotAuthenticated:
    return NotAuthenticated("The API key was revoked or has expired, so this answer ends here.")


def _stopping() -> Unavailable:
    return Unavailable("This server is stopping. Send the request again.", code="server_stopping")
