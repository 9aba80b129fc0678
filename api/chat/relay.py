"""The answer to a chat or completion: waits for a permit and a server, and hands on what the server says.

The work ends when the client leaves, and with it the work of the server.
"""

import asyncio
import json
from functools import partial
from typing import Any

import httpx
import msgspec
import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.admission.callers import Caller
from api.chat.afterwards import Finished
from api.chat.errors import error_event
from api.chat.shared import ChatComponents
from api.chat.stream import Passage, asked_of_server, usage_of
from api.http.sending import send_in_time
from api.models.chat_models import ChatModel
from api.stored_completions.service import may_store
from core.errors import AppError, NotAuthenticated, Unavailable
from core.serving.dispatch.errors import ServerLost
from core.serving.event_stream import events_of
from core.serving.schemas.chat import ChatRequest
from core.serving.schemas.completions import CompletionRequest
from core.serving.schemas.sampling import Sampling
from core.serving.schemas.tokens import TokenizeRequest
from core.serving.served_model import SERVED_FIELD

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
        self._begun = self._counted = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._components.live_keys.watched(self._caller) as key_ended:
            work = asyncio.create_task(self._answer(scope, receive, send))
            left = asyncio.create_task(_client_left(receive))
            ended = asyncio.create_task(key_ended.wait())
            stopping = asyncio.create_task(self._components.stopping.wait())
            all_tasks = work, left, ended, stopping
            try:
                await asyncio.wait(all_tasks, return_when=asyncio.FIRST_COMPLETED)
                if work.done():
                    await work
                    return
                work.cancel()
                await asyncio.wait({work})
                if left.done():
                    raise ClientDisconnect
                await self._end_early(send, _key_ended() if ended.done() else _stopping())
            finally:
                for task in all_tasks:
                    task.cancel()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            whole = await self._handed_on(send)
        except (httpx.HTTPError, ValueError, msgspec.MsgspecError) as error:
            log.warning("answer_broken", error=repr(error))
            lost = ServerLost("The server stopped before the answer was complete. Send the request again.")
            if not self._begun:
                raise lost from error
            await send_in_time(send, {"type": "http.response.body", "body": error_event(lost)})
            return
        if whole is not None:
            await Response(whole, media_type="application/json")(scope, receive, send)

    async def _handed_on(self, send: Send) -> bytes | None:
        """Return a whole answer, or hand on a stream.

        Raises httpx.HTTPError, ValueError or MsgspecError if it breaks.
        """
        most = self._caller.quotas.concurrent_chats or 1
        request = self._request
        given_up = None if isinstance(request, TokenizeRequest) else partial(self._note, request)
        async with (
            self._components.permits.permit(self._caller.project_id, most, request.answers),
            self._components.dispatcher.begun(
                self._path,
                self._model.served,
                request.beginning,
                self._body(),
                self._caller.project_id,
                given_up,
            ) as answer,
        ):
            if isinstance(request, TokenizeRequest):
                return await answer.aread()
            if request.stream:
                await self._stream(request, answer, send)
                return None
            content = await answer.aread()
            self._note(request, usage_of(content), answer=content)
        await self._components.afterwards.settle(COUNT_SECONDS)
        return content

    def _body(self) -> bytes:
        """Return the request as a server gets it."""
        body = self._request.model_dump(exclude_unset=True, by_alias=True)
        body |= {"model": self._model.name, SERVED_FIELD: self._model.served.as_sent()}
        if body.get("stream"):
            body["stream_options"] = asked_of_server()
        return json.dumps(body, ensure_ascii=False).encode()

    async def _stream(self, request: Sampling, answer: httpx.Response, send: Send) -> None:
        """Hand on a stream to its end. Raises httpx.HTTPError or ValueError if it breaks."""
        passage = Passage(request.stream_options, keeps=may_store(self._caller, request))
        await send_in_time(send, {"type": "http.response.start", "status": 200, "headers": HEADERS})
        self._begun = True
        try:
            async for events in events_of(answer.aiter_raw()):
                body = passage.hand_on(events)
                if passage.over:
                    break
                await send_in_time(send, {"type": "http.response.body", "body": body, "more_body": True})
        finally:
            self._note(request, passage.usage, events=passage.events)
        if not passage.over:
            raise ValueError("the stream has no end")
        await self._components.afterwards.settle(COUNT_SECONDS)
        await send_in_time(send, {"type": "http.response.body", "body": body})

    async def _end_early(self, send: Send, error: AppError) -> None:
        """Tell the client why its answer ends: by an event if the stream has begun, or else by an error."""
        if not self._begun:
            raise error
        await send_in_time(send, {"type": "http.response.body", "body": error_event(error)})

    def _note(self, request: Sampling, usage: dict[str, Any] | None, **content: Any) -> None:
        """Count the answer once, if its tokens are known."""
        if usage is not None and not self._counted:
            self._counted = True
            finished = Finished(self._caller, request, self._model.name, usage, **content)
            self._components.afterwards.note(finished)


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _key_ended() -> NotAuthenticated:
    return NotAuthenticated("The API key was revoked or has expired, so this answer ends here.")


def _stopping() -> Unavailable:
    return Unavailable("This server is stopping. Send the request again.", code="server_stopping")
