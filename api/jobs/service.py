"""Reads of a job, and actions on it. Nothing here commits; `core.jobs.lifecycle` alone changes a status."""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy.orm import Session

from api.adapters.aliases import refuse_if_aliased
from api.http.conditional import weak_tag
from api.http.paging import check_cursor
from api.jobs import queries
from api.jobs.creation.refusals import refuse_devices_without_workers
from api.jobs.queries import Filter, JobRow, JobVersion
from core.errors import NotFound
from core.ids import id_pattern
from core.jobs import lifecycle
from core.jobs.lineage import continues_from_checkpoint_of, refuse_if_continued
from core.tables import Job

JOB_ID = id_pattern("ftjob-")


def get(session: Session, project_id: str, job_id: str) -> JobRow:
    """Return the job with its latest claim. Raises NotFound, also for a job of another project."""
    row = queries.find_row(session, project_id, job_id)
    if row is None:
        raise no_such_job(job_id)
    return row


def own_job(session: Session, project_id: str, job_id: str) -> Job:
    """Return the project's job. Raises NotFound, also for a job of another project."""
    job = queries.find(session, project_id, job_id)
    if job is None:
        raise no_such_job(job_id)
    return job


def list_page(
    session: Session, project_id: str, wanted: Filter, after: str | None, limit: int
) -> tuple[list[JobRow], bool]:
    """Return a page of jobs, and whether more follow. Raises InvalidRequest if `after` is not a job's id."""
    check_cursor(after, JOB_ID)
    return queries.page(session, project_id, wanted, after=after, limit=limit)


def list_versions(
    session: Session, project_id: str, wanted: Filter, after: str | None, limit: int
) -> tuple[list[JobVersion], bool]:
    """Return the versions of the jobs that `list_page` returns, and whether more follow.

    Raises InvalidRequest if `after` is not a job's id.
    """
    check_cursor(after, JOB_ID)
    return queries.page_versions(session, project_id, wanted, after=after, limit=limit)


def etag(versions: Iterable[JobVersion], positions: Mapping[str, int], has_more: bool = False) -> str:
    """Return the ETag of one job, or of a page of jobs.

    `positions` are the jobs' positions in the queue. They are part of the ETag, since a client sees them too.
    """
    return weak_tag(has_more, *((*version, positions.get(version.id)) for version in versions))


def cancel(session: Session, project_id: str, job_id: str) -> JobRow:
    """Cancel the job, and return it. Raises NotFound, and InvalidRequest if the job has ended."""
    lifecycle.cancel(session, own_job(session, project_id, job_id))
    return get(session, project_id, job_id)


def delete(session: Session, project_id: str, job_id: str) -> None:
    """Delete the job. Raises NotFound, also the second time, and InvalidRequest if the job has not ended.

    Raises Conflict if an alias leads to a checkpoint of the job, which would be deleted with it, or if an
    unfinished job continues from one.
    """
    job = own_job(session, project_id, job_id)
    lifecycle.delete(session, job)
    checkpoints = f"{lifecycle.fine_tuned_model_name(session, job)}:ckpt-step-"
    refuse_if_aliased(session, project_id, lambda name: name.startswith(checkpoints))
    refuse_if_continued(session, project_id, continues_from_checkpoint_of(job_id))


def pause(session: Session, project_id: str, job_id: str) -> JobRow:
    """Pause the job, and return it. Raises NotFound, and InvalidRequest if it has ended or is paused."""
    lifecycle.pause(session, own_job(session, project_id, job_id))
    return get(session, project_id, job_id)


def resume(session: Session, project_id: str, job_id: str, device_classes: Sequence[int]) -> JobRow:
    """Queue the paused job again, and return it.

    Raises NotFound. Raises InvalidRequest if the job is not paused, or if it would wait forever, since no
    worker has as many devices as it needs. A job that still runs has its worker.
    """
    job = own_job(session, project_id, job_id)
    lifecycle.resume(session, job)  # first: its refusal tells a retry that the job has been resumed before
    if job.status == "queued":
        refuse_devices_without_workers(job.devices, device_classes)
    return get(session, project_id, job_id)


def no_such_job(job_id: str) -> NotFound:
    """Return the error for a job that the project does not have."""
    return NotFound(
        f"Could not find fine tune: {job_id}", code="fine_tune_not_found", param="fine_tuning_job_id"
    )
