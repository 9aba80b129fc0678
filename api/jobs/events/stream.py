"""Sends a job's events as server-sent events, until the job has ended or the API key is no longer valid."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.types import Receive, Scope, Send

from api.admission.live_keys import LiveKeys
from api.http.sending import SEND_SECONDS, send_in_time
from api.jobs.events import gzipped
from api.jobs.events.feed import Cursor, EventFeed
from api.jobs.events.open_streams import OpenStreams
from api.jobs.events.schemas import EventObject
from api.schemas import from_row
from core.access.audit import Actor

MEDIA_TYPE = EventSourceResponse.media_type
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            MEDIA_TYPE: {
                "schema": {
                    "type": "string",
                    "description": "The answer to a request with `Accept: text/event-stream`",
                }
            }
        }
    },
    204: {"description": "The job has ended, and `Last-Event-ID` is its last event: no stream follows"},
}

KEEP_ALIVE_SECONDS = 15.0  # common proxies wait longer than this before they close a silent connection
RETRY_MILLISECONDS = 2000


class EventStream(EventSourceResponse):
    """A stream that ends if its client does not read. Otherwise its events would stay in memory.

    It takes one of the project's permits. Raises RateLimited or Unavailable if there is none.
    """

    def __init__(
        self,
        content: AsyncIterator[bytes],
        permits: OpenStreams,
        project_id: str,
        headers: dict[str, str],
        send_seconds: float = SEND_SECONDS,
    ) -> None:
        super().__init__(content, headers=headers)
        self._send_seconds = send_seconds
        self._permits, self._project_id = permits, project_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._permits.permit_for(self._project_id):
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        await super().stream_response(partial(send_in_time, send, seconds=self._send_seconds))


def response(
    feed: EventFeed,
    permits: OpenStreams,
    live_keys: LiveKeys,
    cursor: Cursor,
    caller: Actor,
    accept_encoding: str,
) -> EventStream:
    """Return the stream of the events after `cursor`, compressed if the client takes gzip."""
    stream = _stream(feed, cursor, live_keys, caller)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    if gzipped.accepts(accept_encoding):
        stream, headers = gzipped.gzipped(stream), headers | gzipped.HEADERS
    return EventStream(stream, permits, caller.project_id, headers)


async def _stream(
    feed: EventFeed, cursor: Cursor, live_keys: LiveKeys, caller: Actor
) -> AsyncIterator[bytes]:
    yield format_sse_event(retry=RETRY_MILLISECONDS)
    with live_keys.watched(caller) as key_ended:
        while not key_ended.is_set():
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    news = await feed.after(cursor)
            except TimeoutError:
                yield KEEPALIVE_COMMENT
                continue
            for event in news.events:
                yield format_sse_event(id=event.id, data_str=from_row(EventObject, event).model_dump_json())
                cursor = Cursor(cursor.job_id, event.sequence)
            if news.over:
                return
            del news, event  # the feed counts what a listener holds
