"""The answer to a chat or completion: waits for a turn and a server, and hands on what the server says.

The work ends when the client leaves, and with it the work of the server.
"""

import asyncio
import json
from typing import Any

import httpx
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from api.admission.callers import Caller
from api.chat.afterwards import Finished
from api.chat.errors import ServerLost, error_event
from api.chat.models import ChatModel
from api.chat.parts import ChatParts
from api.chat.stream import Passage, asked_of_server, events_of
from api.stored_completions.service import may_store
from core.errors import Unavailable
from core.serving.sampling import Sampling
from core.serving.served_model import SERVED_FIELD

SEND_SECONDS = 30.0  # in which a client must take what it is sent
COUNT_SECONDS = 2.0  # for which an answer waits until its tokens are counted

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

log = structlog.get_logger()


class Relay(Response):
    """A response that is computed while it is sent."""

    def __init__(
        self, parts: ChatParts, path: str, request: Sampling, model: ChatModel, caller: Caller
    ) -> None:
        """`path` is the path of the same operation at a server."""
        super().__init__()
        self._parts, self._path, self._request, self._model = parts, path, request, model
        self._caller = caller
        self._begun = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.create_task(self._answer(scope, receive, send))
        left = asyncio.create_task(_client_left(receive))
        stopping = asyncio.create_task(self._parts.stopping.wait())
        try:
            await asyncio.wait({work, left, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
                return
            work.cancel()
            await asyncio.wait({work})
            if left.done():
                raise ClientDisconnect
            await self._end_early(send)
        finally:
            for task in (work, left, stopping):
                task.cancel()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        most = self._caller.quotas.concurrent_chats or 1
        async with (
            self._parts.turns.turn(self._caller.project_id, most),
            self._parts.dispatcher.begun(self._path, self._model.served, self._body()) as answer,
        ):
            if self._request.stream:
                await self._stream(answer, send)
            else:
                whole = await self._whole(answer)
                await whole(scope, receive, send)

    def _body(self) -> bytes:
        """Return the request as a server gets it."""
        body = self._request.model_dump(exclude_unset=True, by_alias=True)
        body |= {"model": self._model.name, SERVED_FIELD: self._model.served.model_dump()}
        if self._request.stream:
            body["stream_options"] = asked_of_server()
        return json.dumps(body, ensure_ascii=False).encode()

    async def _whole(self, answer: httpx.Response) -> Response:
        """Return the whole answer. Raises ServerLost."""
        try:
            content = await answer.aread()
        except httpx.HTTPError as error:
            raise ServerLost("The server stopped before the answer was complete. Send it again.") from error
        found = json.loads(content)
        self._parts.afterwards.note(self._finished(found.get("usage"), answer=found))
        await self._parts.afterwards.settle(COUNT_SECONDS)
        return Response(content, media_type="application/json")

    async def _stream(self, answer: httpx.Response, send: Send) -> None:
        passage = Passage(self._request.stream_options, keeps=may_store(self._caller, self._request))
        await self._send(send, {"type": "http.response.start", "status": 200, "headers": HEADERS})
        self._begun = True
        try:
            async for events in events_of(answer.aiter_raw()):
                body = passage.hand_on(events)
                if passage.over:
                    break
                await self._send(send, {"type": "http.response.body", "body": body, "more_body": True})
        except (httpx.HTTPError, ValueError) as error:
            log.warning("stream_broken", error=repr(error))
        finally:
            self._parts.afterwards.note(self._finished(passage.usage, events=passage.events))
        await self._parts.afterwards.settle(COUNT_SECONDS)
        if not passage.over:
            body = error_event(ServerLost("The server stopped before the answer was complete."))
        await self._send(send, {"type": "http.response.body", "body": body})

    async def _end_early(self, send: Send) -> None:
        """Tell the client that the API stops: by an event if the stream has begun, or else by an error."""
        error = Unavailable("This server is stopping. Send the request again.", code="server_stopping")
        if not self._begun:
            raise error
        await self._send(send, {"type": "http.response.body", "body": error_event(error)})

    async def _send(self, send: Send, message: Message) -> None:
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await send(message)
        except TimeoutError:
            raise ClientDisconnect from None

    def _finished(self, usage: dict[str, Any] | None, **content: Any) -> Finished:
        return Finished(self._caller, self._request, self._model.name, usage, **content)


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
