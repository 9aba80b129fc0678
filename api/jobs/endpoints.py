"""/v1/fine_tuning/jobs: create, list, read, cancel, delete, pause, resume; events, checkpoints, metrics."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Depends, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from starlette.responses import StreamingResponse

from api.dependencies import (
    AppSettings,
    Bell,
    ModelCatalog,
    ReadingSessions,
    Sessions,
    Store,
    Transaction,
)
from api.http import conditional, downloads
from api.http.auth import CurrentCaller
from api.http.errors import declared
from api.http.idempotency import ThisAttempt
from api.http.paging import After
from api.http.strict_json import StrictJsonRoute
from api.jobs import creation, event_stream, service
from api.jobs.candidate_views import CandidatesObject
from api.jobs.curves import DOCUMENTED as SVG_DOCUMENTED
from api.jobs.curves import SVG, picture
from api.jobs.event_feed import EventFeed
from api.jobs.queries import Filter
from api.jobs.schemas import CreateJob
from api.jobs.series import Wanted
from api.jobs.shared_polls import Polled, SharedPolls
from api.jobs.views import CheckpointObject, EventObject, JobDeleted, JobObject, MetricsSeries, Presenter
from api.schemas import Page
from core.access import audit
from core.access.idempotency import once
from core.access.quotas import check_queue
from core.errors import (
    Conflict,
    InvalidRequest,
    NotAuthenticated,
    NotFound,
    RateLimited,
    TooLarge,
    Unavailable,
)
from core.jobs.events import EventType
from core.jobs.search import MAX_CANDIDATES
from core.statuses import Status

MAX_LIMIT = 1000
MAX_STEPS = 10_000
FEWEST_POINTS = 100
LARGEST_STEP = 2**31 - 1
OF_TYPE = "Events of this type alone"
RESUMES = "The `id` of the last event that was received; of a stream only"

METADATA_FILTER = re.compile(r"metadata\[(.*)\]", re.DOTALL)
METADATA_PARAMETER = {
    "parameters": [
        {
            "name": "metadata",
            "in": "query",
            "style": "deepObject",
            "explode": True,
            "description": "`metadata[key]=value`, any number of times; `metadata=null` finds jobs without",
            "schema": {"type": "object", "additionalProperties": {"type": "string"}, "nullable": True},
        }
    ]
}


async def _event_feed(request: Request) -> EventFeed:
    feed: EventFeed = request.app.state.event_feed
    return feed


async def _presenter(request: Request) -> Presenter:
    presenter: Presenter = request.app.state.presenter
    return presenter


async def _polls(request: Request) -> SharedPolls:
    polls: SharedPolls = request.app.state.polls
    return polls


Feed = Annotated[EventFeed, Depends(_event_feed)]
Candidate = Annotated[int | None, Query(ge=0, lt=MAX_CANDIDATES, description="A candidate's number")]
FileId = Annotated[
    str | None,
    Query(max_length=128, description="Of the jobs that read this file, for training or validation"),
]
OfStatus = Annotated[Status | None, Query(description="Jobs of this status alone")]
Words = Annotated[
    str,
    Query(
        max_length=200,
        description="Words, each of which occurs in a job's id, suffix, model, metadata or method, or in the "
        "names of its files",
    ),
]
Presenting = Annotated[Presenter, Depends(_presenter)]
Polls = Annotated[SharedPolls, Depends(_polls)]

router = APIRouter(
    prefix="/v1/fine_tuning/jobs",
    tags=["Fine-tuning jobs"],
    route_class=StrictJsonRoute,
    responses=declared(NotAuthenticated, Unavailable),
)


@router.post(
    "", response_model=JobObject, responses=declared(InvalidRequest, Conflict, TooLarge, RateLimited)
)
def create_job(
    sessions: Sessions,
    caller: CurrentCaller,
    settings: AppSettings,
    catalog: ModelCatalog,
    present: Presenting,
    doorbell: Bell,
    after_response: BackgroundTasks,
    attempt: ThisAttempt,
    body: CreateJob,
) -> Response:
    """Queue a fine-tuning job. What `"auto"` became, and every default, stands in the answer."""

    def create() -> dict[str, Any]:
        row = creation.create(session, caller.project_id, catalog, settings, body)
        check_queue(session, caller.project_id, caller.quotas.queued_jobs)
        audit.record(session, caller, "job.created", row.job.id)
        return present.new_job(row).model_dump(mode="json")

    # Committed here, and answered as it is recorded: a dependency that commits, and a model that is checked
    # once more, are three more changes of threads, which cost as much as the work.
    with sessions.begin() as session:
        job = once(session, attempt, body.model_dump_json(), create)
    # After the commit, and no client waits for a broker that hangs: a lost hint costs one sweep.
    after_response.add_task(doorbell.wake, job["training"]["devices"])
    return JSONResponse(job)


@router.get(
    "",
    response_model=Page[JobObject],
    responses=declared(InvalidRequest) | conditional.DOCUMENTED,
    openapi_extra=METADATA_PARAMETER,
)
def list_jobs(
    request: Request,
    sessions: ReadingSessions,
    caller: CurrentCaller,
    present: Presenting,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT)] = 20,
    after: After = None,
    file: FileId = None,
    status: OfStatus = None,
    search: Words = "",
) -> Response:
    """Newest first. With `If-None-Match`, a page that has not changed is answered 304."""
    words = tuple(search.split())
    wanted = _metadata_filter(request)._replace(file_id=file, status=status, words=words)
    asked = (caller.project_id, wanted, after, limit)
    with sessions() as session:
        if conditional.is_conditional(request):
            tag = present.tag(*service.list_versions(session, *asked))
            if unchanged := conditional.not_modified(request, tag):
                return unchanged
        rows, has_more = service.list_page(session, *asked)
    page = Page.of([present.job(row) for row in rows], has_more)
    return conditional.tagged(page, present.tag([row.as_version for row in rows], has_more))


@router.get(
    "/{fine_tuning_job_id}",
    response_model=JobObject,
    responses=declared(NotFound) | conditional.DOCUMENTED,
)
async def retrieve_job(
    request: Request, caller: CurrentCaller, polls: Polls, fine_tuning_job_id: str
) -> Response:
    """A job as it is now. With `If-None-Match`, one that has not changed is answered 304."""
    polled = Polled(caller.project_id, fine_tuning_job_id)
    if conditional.is_conditional(request):
        tag = await polls.tag(polled)
        if tag and (unchanged := conditional.not_modified(request, tag)):
            return unchanged
    return await polls.read(polled)


@router.post("/{fine_tuning_job_id}/cancel", responses=declared(NotFound, InvalidRequest, Conflict))
def cancel_job(
    session: Transaction,
    caller: CurrentCaller,
    present: Presenting,
    attempt: ThisAttempt,
    fine_tuning_job_id: str,
) -> JobObject:
    """Cancel a job that has not ended, at once. It keeps its checkpoints."""

    def cancel() -> dict[str, Any]:
        row = service.cancel(session, caller.project_id, fine_tuning_job_id)
        audit.record(session, caller, "job.cancelled", row.job.id)
        return present.job(row).model_dump(mode="json")

    return JobObject.model_validate(once(session, attempt, "", cancel))


@router.delete("/{fine_tuning_job_id}", responses=declared(NotFound, InvalidRequest, Conflict))
def delete_job(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, fine_tuning_job_id: str
) -> JobDeleted:
    """Delete a job that has ended, with its events, metrics, candidates and checkpoints.

    Its adapter, its model and its files stay; each has a deletion of its own. A sweep goes with its job.
    """

    def delete() -> dict[str, Any]:
        service.delete(session, caller.project_id, fine_tuning_job_id)
        audit.record(session, caller, "job.deleted", fine_tuning_job_id)
        return JobDeleted(id=fine_tuning_job_id).model_dump(mode="json")

    return JobDeleted.model_validate(once(session, attempt, "", delete))


@router.post("/{fine_tuning_job_id}/pause", responses=declared(NotFound, InvalidRequest))
def pause_job(
    session: Transaction, caller: CurrentCaller, present: Presenting, fine_tuning_job_id: str
) -> JobObject:
    """Pause a queued or running job, which frees its place.

    A job that has made steps saves a checkpoint first: it stays `running`, in the phase `pausing`, for some
    seconds, and then is `paused`.
    """
    row = service.pause(session, caller.project_id, fine_tuning_job_id)
    audit.record(session, caller, "job.paused", row.job.id)
    return present.job(row)


@router.post("/{fine_tuning_job_id}/resume", responses=declared(NotFound, InvalidRequest, RateLimited))
def resume_job(
    session: Transaction,
    caller: CurrentCaller,
    settings: AppSettings,
    present: Presenting,
    doorbell: Bell,
    after_response: BackgroundTasks,
    fine_tuning_job_id: str,
) -> JobObject:
    """Queue a paused job again, in its old place; it goes on from where it was. Also ends a pause that has
    not taken effect yet."""
    row = service.resume(session, caller.project_id, fine_tuning_job_id, settings.offered_classes)
    check_queue(session, caller.project_id, caller.quotas.queued_jobs)
    audit.record(session, caller, "job.resumed", row.job.id)
    after_response.add_task(doorbell.wake, row.job.devices)
    return present.job(row)


@router.get(
    "/{fine_tuning_job_id}/events",
    response_model=Page[EventObject],
    responses=declared(NotFound, InvalidRequest) | event_stream.DOCUMENTED,
)
def list_events(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    feed: Feed,
    fine_tuning_job_id: str,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT)] = 20,
    after: After = None,
    type: Annotated[EventType | None, Query(description=OF_TYPE)] = None,
    accept: Annotated[str, Header(include_in_schema=False)] = "",
    accept_encoding: Annotated[str, Header(include_in_schema=False)] = "",
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", description=RESUMES)] = None,
) -> Page[EventObject] | Response:
    """The job's log, newest first.

    With `Accept: text/event-stream` it is pushed instead, as server-sent events, oldest first, until the job
    has ended; `limit`, `after` and `type` do not count then. A stream that breaks is resumed with
    `Last-Event-ID`. One whose key is revoked or expires ends within half a minute.
    """
    with sessions() as session:
        if event_stream.MEDIA_TYPE in accept:
            place = service.place_after(session, caller.project_id, fine_tuning_job_id, last_event_id)
            if place is None:
                return Response(status_code=204)
            return event_stream.response(feed, place, caller, accept_encoding)
        events, has_more = service.events(session, caller.project_id, fine_tuning_job_id, type, after, limit)
    return Page.of([EventObject.of(event) for event in events], has_more)


@router.get("/{fine_tuning_job_id}/checkpoints", responses=declared(NotFound, InvalidRequest))
def list_checkpoints(
    session: Transaction,
    caller: CurrentCaller,
    fine_tuning_job_id: str,
    limit: Annotated[int, Query(ge=0, le=MAX_LIMIT)] = 10,
    after: After = None,
) -> Page[CheckpointObject]:
    """The checkpoints of the last three epochs and the best one, newest first."""
    model_name, checkpoints, has_more = service.checkpoints(
        session, caller.project_id, fine_tuning_job_id, after, limit
    )
    return Page.of([CheckpointObject.of(checkpoint, model_name) for checkpoint in checkpoints], has_more)


@router.get(
    "/{fine_tuning_job_id}/checkpoints/{checkpoint_id}/content",
    response_class=StreamingResponse,
    responses=declared(NotFound) | downloads.documented(downloads.ZIP),
)
def download_checkpoint(
    sessions: ReadingSessions,
    caller: CurrentCaller,
    store: Store,
    fine_tuning_job_id: str,
    checkpoint_id: str,
) -> StreamingResponse:
    """A checkpoint's weights in one zip, which PEFT loads once unpacked, or transformers where it is a whole
    model. The tokenizer is the base model's."""
    with sessions() as session:
        checkpoint = service.checkpoint(session, caller.project_id, fine_tuning_job_id, checkpoint_id)
    chunks = service.read_weights(store, checkpoint)
    return downloads.download(chunks, f"{checkpoint_id}.zip", media_type=downloads.ZIP)


@router.get("/{fine_tuning_job_id}/metrics", responses=declared(NotFound, InvalidRequest))
def list_metrics(
    session: Transaction,
    caller: CurrentCaller,
    fine_tuning_job_id: str,
    candidate: Candidate = None,
    after_step: Annotated[int, Query(ge=-1, le=LARGEST_STEP)] = -1,
    until_step: Annotated[int, Query(ge=0, le=LARGEST_STEP)] = LARGEST_STEP,
    limit: Annotated[int, Query(ge=1, le=MAX_STEPS)] = MAX_STEPS,
    points: Annotated[int | None, Query(ge=FEWEST_POINTS, le=MAX_STEPS)] = None,
) -> MetricsSeries:
    """The values of every step beyond `after_step`, and no later than `until_step`, oldest first.

    Where these are more than `points`, they are thinned to about as many, and `limit` does not count: of each
    stretch of neighbouring steps those stay at which some value is the smallest or the largest.

    Of a job with several candidates they are the leader's, and from its end on the winner's, from its first
    step. `candidate` asks for those of one.
    """
    wanted = Wanted(candidate, after_step, until_step, limit, points)
    return MetricsSeries.of(service.metrics(session, caller.project_id, fine_tuning_job_id, wanted))


@router.get("/{fine_tuning_job_id}/candidates", responses=declared(NotFound))
def list_candidates(session: Transaction, caller: CurrentCaller, fine_tuning_job_id: str) -> CandidatesObject:
    """The adapters that the job chooses from, the best first: those of `"r": "auto"`, or of a sweep.

    Of a job that trains one adapter there are none.
    """
    return CandidatesObject.of(*service.candidates(session, caller.project_id, fine_tuning_job_id))


@router.get(
    "/{fine_tuning_job_id}/candidates/curves",
    responses=declared(NotFound) | SVG_DOCUMENTED,
    response_class=Response,
)
def draw_candidates(session: Transaction, caller: CurrentCaller, fine_tuning_job_id: str) -> Response:
    """Their training losses by step, as a picture."""
    return Response(picture(*service.curves(session, caller.project_id, fine_tuning_job_id)), media_type=SVG)


def _metadata_filter(request: Request) -> Filter:
    """From `metadata[k]=v` pairs, or `metadata=null`, which asks for jobs that have none."""
    pairs: dict[str, Any] = {}
    for name, value in request.query_params.multi_items():
        if match := METADATA_FILTER.fullmatch(name):
            pairs[match[1]] = value
    whole = request.query_params.get("metadata")
    if whole is not None and (pairs or whole != "null"):
        raise InvalidRequest(
            "Filter by metadata[key]=value, or find jobs without any by metadata=null; not both.",
            code="invalid_value",
            param="metadata",
        )
    return Filter(pairs, without_metadata=whole is not None)
