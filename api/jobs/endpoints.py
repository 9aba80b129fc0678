"""/v1/fine_tuning/jobs: create, list, read, cancel, delete, pause and resume a job."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

from fastapi import BackgroundTasks, Query, Request, Response
from fastapi.responses import JSONResponse

from api.admission.auth import CurrentCaller
from api.admission.fair_share import poll
from api.dependencies import AppSettings, Hints, ModelCatalog, ReadingSessions, Sessions, Transaction
from api.http import conditional
from api.http.errors import declared
from api.http.idempotency import ThisAttempt, deleted, found_by, repeatable
from api.http.metadata import metadata_in, metadata_parameter
from api.http.paging import After, LongLimit
from api.http.routers import feature
from api.jobs import service
from api.jobs.creation import service as creation
from api.jobs.creation.schemas import CreateJob
from api.jobs.dependencies import Polls, Positions
from api.jobs.queries import Filter, JobRow
from api.jobs.schemas import JobDeleted, JobObject
from api.jobs.shared_polls import Polled
from api.jobs.word_search import MOST_WORDS, SEARCH_SECONDS, searching, words_in
from api.schemas import Page
from core.access import audit
from core.access.idempotency import once
from core.access.quotas import check_queue, check_request
from core.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, RateLimited, TooLarge
from core.process.failpoints import reached
from core.statuses import Status

FileId = Annotated[
    str | None,
    Query(max_length=128, description="Finds the jobs that read this file, for training or for validation"),
]
OfStatus = Annotated[Status | None, Query(description="Finds the jobs that have this status")]
Words = Annotated[
    str,
    Query(
        max_length=200,
        description=f"Finds the jobs whose names contain all of these words, {MOST_WORDS} at most. Case does "
        "not matter. The names are a job's id, suffix, model, metadata and method, and the ids and names of "
        f"its files. A search is stopped after {SEARCH_SECONDS:g} s.",
    ),
]

router = feature("/v1/fine_tuning/jobs", "Fine-tuning jobs")


@router.post(
    "",
    response_model=JobObject,
    responses=declared(InvalidRequest, Conflict, TooLarge, QuotaExceeded, RateLimited),
)
def create_job(
    sessions: Sessions,
    caller: CurrentCaller,
    settings: AppSettings,
    catalog: ModelCatalog,
    hint_sender: Hints,
    after_response: BackgroundTasks,
    attempt: ThisAttempt,
    body: CreateJob,
) -> Response:
    """Queue a fine-tuning job.

    The answer holds the value of every option: each default, and what each `"auto"` became.
    """

    def create() -> dict[str, Any]:
        row = JobRow.of_new(creation.create(session, caller.project_id, catalog, settings, body))
        check_queue(session, caller.project_id, caller.quotas.queued_jobs)
        check_request(session, caller.project_id, caller.quotas.stored_bytes)
        audit.record(session, caller, "job.created", row.job.id)
        # The job has no position in the queue yet: the transactions that read the positions cannot see it.
        return JobObject.of(row, settings.lease_seconds, queue_position=None).model_dump(mode="json")

    # The transaction commits here, and the recorded answer is sent without another validation. A dependency
    # that commits, and a validation by FastAPI, would switch threads three more times. That would take as
    # long as all the rest.
    with sessions.begin() as session:
        job = once(session, attempt, body.model_dump_json(), create, found_by(service.get, caller.project_id))
    reached("job.committed")
    # The hint is sent after the response, so that no client waits for a broker that hangs. If it is lost, a
    # worker finds the job with its next scan.
    after_response.add_task(hint_sender.send, job["training"]["devices"])
    return JSONResponse(job)


@router.get(
    "",
    response_model=Page[JobObject],
    responses=declared(InvalidRequest) | conditional.DOCUMENTED,
    openapi_extra=metadata_parameter("jobs"),
)
def list_jobs(
    request: Request,
    sessions: Sessions,
    reading: ReadingSessions,
    caller: CurrentCaller,
    settings: AppSettings,
    queue: Positions,
    limit: LongLimit = 20,
    after: After = None,
    file: FileId = None,
    status: OfStatus = None,
    search: Words = "",
) -> Response:
    """List the project's jobs, newest first.

    A request with `If-None-Match` is answered 304 if the page has not changed. A page may have fewer than
    `limit` items although more follow, if they are large.
    """
    words = words_in(search)
    pairs, without = metadata_in(request)
    wanted = Filter(pairs, without, file_id=file, status=status, words=words)
    asked = (caller.project_id, wanted, after, limit)
    with searching(sessions) if words else reading() as session:
        if conditional.is_conditional(request):
            versions, has_more = service.list_versions(session, *asked)
            tag = service.etag(versions, queue.of_queued(versions), has_more)
            if unchanged := conditional.not_modified(request, tag):
                return unchanged
        rows, has_more = service.list_page(session, *asked)
    versions = [row.as_version for row in rows]
    positions = queue.of_queued(versions)
    page = Page.of([_shown(row, settings.lease_seconds, positions) for row in rows], has_more)
    return conditional.tagged(page, service.etag(versions, positions, has_more))


@router.get(
    "/{fine_tuning_job_id}",
    response_model=JobObject,
    responses=declared(NotFound) | conditional.DOCUMENTED,
)
@poll
async def retrieve_job(
    request: Request, caller: CurrentCaller, polls: Polls, fine_tuning_job_id: str
) -> Response:
    """Return a job as it is now.

    A request with `If-None-Match` is answered 304 if the job has not changed.
    """
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
    settings: AppSettings,
    attempt: ThisAttempt,
    fine_tuning_job_id: str,
) -> JobObject:
    """Cancel a job that has not ended. It ends at once, and keeps its checkpoints."""

    def cancel() -> JobObject:
        row = service.cancel(session, caller.project_id, fine_tuning_job_id)
        audit.record(session, caller, "job.cancelled", row.job.id)
        return _shown(row, settings.lease_seconds)

    return repeatable(session, attempt, JobObject, cancel, done="job_not_cancellable")


@router.delete("/{fine_tuning_job_id}", responses=declared(NotFound, InvalidRequest, Conflict))
def delete_job(
    session: Transaction, caller: CurrentCaller, attempt: ThisAttempt, fine_tuning_job_id: str
) -> JobDeleted:
    """Delete a job that has ended, with its events, metrics, candidates and checkpoints.

    The job's adapter, its model and its files stay: delete each of them by its own request. If the job is a
    sweep, the sweep is deleted with it. A job to whose checkpoint an alias leads is not deleted.
    """
    delete = partial(service.delete, session, caller.project_id, fine_tuning_job_id)
    return deleted(session, attempt, JobDeleted(id=fine_tuning_job_id), "job.deleted", delete)


@router.post("/{fine_tuning_job_id}/pause", responses=declared(NotFound, InvalidRequest, Conflict))
def pause_job(
    session: Transaction,
    caller: CurrentCaller,
    settings: AppSettings,
    attempt: ThisAttempt,
    fine_tuning_job_id: str,
) -> JobObject:
    """Pause a job that is queued or running. Another job may use its devices.

    A job that has trained some steps saves a checkpoint first. It stays `running`, in the phase `pausing`,
    for some seconds, and then becomes `paused`.
    """

    def pause() -> JobObject:
        row = service.pause(session, caller.project_id, fine_tuning_job_id)
        audit.record(session, caller, "job.paused", row.job.id)
        return _shown(row, settings.lease_seconds)

    return repeatable(session, attempt, JobObject, pause, done="job_not_pausable")


@router.post(
    "/{fine_tuning_job_id}/resume", responses=declared(NotFound, InvalidRequest, Conflict, RateLimited)
)
def resume_job(
    session: Transaction,
    caller: CurrentCaller,
    settings: AppSettings,
    queue: Positions,
    hint_sender: Hints,
    after_response: BackgroundTasks,
    attempt: ThisAttempt,
    fine_tuning_job_id: str,
) -> JobObject:
    """Queue a paused job again, at its old position. It goes on from the step at which it was paused.

    If the pause has not taken effect yet, this withdraws it.
    """

    def resume() -> JobObject:
        row = service.resume(session, caller.project_id, fine_tuning_job_id, settings.offered_classes)
        check_queue(session, caller.project_id, caller.quotas.queued_jobs)
        audit.record(session, caller, "job.resumed", row.job.id)
        return _shown(row, settings.lease_seconds, queue.of_queued([row.as_version]))

    job = repeatable(session, attempt, JobObject, resume, done="job_not_resumable")
    after_response.add_task(hint_sender.send, job.training.devices)
    return job


def _shown(row: JobRow, lease_seconds: float, positions: Mapping[str, int] | None = None) -> JobObject:
    """Return the job as a client reads it. `positions` may be left out if the job cannot be queued."""
    return JobObject.of(row, lease_seconds, (positions or {}).get(row.job.id))
