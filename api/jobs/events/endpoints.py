"""/v1/fine_tuning/jobs/…/events: list the events of a job, or read them as a stream."""

from typing import Annotated

from fastapi import Depends, Header, Query, Response

from api.admission.auth import CurrentCaller
from api.admission.live_keys import LiveKeys
from api.dependencies import ReadingSessions, component
from api.http.errors import declared
from api.http.paging import After, LongLimit
from api.http.routers import feature
from api.jobs.events import service, stream
from api.jobs.events.feed import EventFeed
from api.jobs.events.open_streams import OpenStreams
from api.jobs.events.schemas import EventObject
from api.schemas import Page, from_row
from core.errors import InvalidRequest, NotFound, RateLimited
from core.jobs.events import EventType

Feed = Annotated[EventFeed, Depends(component("event_feed"))]
StreamPermits = Annotated[OpenStreams, Depends(component("open_streams"))]
KeysInUse = Annotated[LiveKeys, Depends(component("live_keys"))]
OfType = Annotated[EventType | None, Query(description="Lists the events of this type only")]
LastEventId = Annotated[
    str | None,
    Header(
        alias="Last-Event-ID",
        description="The `id` of the last event that the client has received. A stream goes on after it.",
    ),
]

router = feature("/v1/fine_tuning/jobs/{fine_tuning_job_id}/events", "Fine-tuning jobs")


@router.get(
    "",
    response_model=Page[EventObject],
    responses=declared(NotFound, InvalidRequest, RateLimited) | stream.DOCUMENTED,
)
def list_events(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    feed: Feed,
    permits: StreamPermits,
    live_keys: KeysInUse,
    fine_tuning_job_id: str,
    limit: LongLimit = 20,
    after: After = None,
    type: OfType = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    accept_encoding: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: LastEventId = None,
) -> Page[EventObject] | Response:
    """List the job's events, newest first. A page ends before `limit` if its events have 4 MiB.

    With `Accept: text/event-stream`, the server pushes the events instead, as server-sent events. They come
    oldest first, until the job has ended. `limit`, `after` and `type` have no effect on a stream.

    If a stream breaks, send `Last-Event-ID` to go on after the last event that arrived. If the API key is
    revoked or expires, the stream ends within 30 seconds.
    """
    with sessions() as session:
        if stream.MEDIA_TYPE in accept:
            cursor = service.cursor_after(session, caller.project_id, fine_tuning_job_id, last_event_id)
            if cursor is None:
                return Response(status_code=204)
            return stream.response(feed, permits, live_keys, cursor, caller, accept_encoding)
        events, has_more = service.list_page(
            session, caller.project_id, fine_tuning_job_id, type, after, limit
        )
    return Page.of([from_row(EventObject, event) for event in events], has_more)
