"""Actions on an existing job, and reads of it. Nothing here commits; `core.jobs.lifecycle` alone changes a
status."""

from collections.abc import Iterator, Sequence

from sqlalchemy.orm import Session

from api.http.archive import stored_folder, zipped
from api.http.paging import check_cursor, unknown_cursor
from api.jobs import queries, series
from api.jobs.creation import refuse_devices_without_workers
from api.jobs.event_feed import Place
from api.jobs.queries import Curve, Filter, JobRow, JobVersion
from core.errors import InvalidRequest, NotFound
from core.ids import id_pattern
from core.jobs import lifecycle
from core.statuses import ENDED
from core.storage.artifacts import POSITION_NAME, STATE_NAME
from core.storage.object_store import ObjectStore
from core.tables import Candidate, Checkpoint, Event, Job

JOB_ID = id_pattern("ftjob-")


def get(session: Session, project_id: str, job_id: str) -> JobRow:
    """Raises NotFound, also for a job of another project."""
    row = queries.find_row(session, project_id, job_id)
    if row is None:
        raise _no_such_job(job_id)
    return row


def list_page(
    session: Session, project_id: str, wanted: Filter, after: str | None, limit: int
) -> tuple[list[JobRow], bool]:
    check_cursor(after, JOB_ID)
    return queries.page(session, project_id, wanted, after=after, limit=limit)


def list_versions(
    session: Session, project_id: str, wanted: Filter, after: str | None, limit: int
) -> tuple[list[JobVersion], bool]:
    check_cursor(after, JOB_ID)
    return queries.page_versions(session, project_id, wanted, after=after, limit=limit)


def cancel(session: Session, project_id: str, job_id: str) -> JobRow:
    """Raises NotFound, and InvalidRequest where the job has ended."""
    lifecycle.cancel(session, _own(session, project_id, job_id))
    return get(session, project_id, job_id)


def delete(session: Session, project_id: str, job_id: str) -> None:
    """Raises NotFound, also the second time, and InvalidRequest where the job has not ended."""
    lifecycle.delete(session, _own(session, project_id, job_id))


def pause(session: Session, project_id: str, job_id: str) -> JobRow:
    """Raises NotFound, and InvalidRequest where the job has ended or is paused."""
    lifecycle.pause(session, _own(session, project_id, job_id))
    return get(session, project_id, job_id)


def resume(session: Session, project_id: str, job_id: str, device_classes: Sequence[int]) -> JobRow:
    """Raises NotFound, and InvalidRequest where the job is not paused or could only wait for ever."""
    job = _own(session, project_id, job_id)
    refuse_devices_without_workers(job.devices, device_classes)
    lifecycle.resume(session, job)
    return get(session, project_id, job_id)


def events(
    session: Session, project_id: str, job_id: str, type: str | None, after: str | None, limit: int
) -> tuple[list[Event], bool]:
    """Of one type, or all."""
    job = _own(session, project_id, job_id)
    sequence = None
    if after is not None:
        sequence = queries.event_sequence(session, job.id, after)
        if sequence is None:
            raise unknown_cursor(after)
    return queries.events(session, job.id, after=sequence, limit=limit, type=type)


def place_after(session: Session, project_id: str, job_id: str, last_event_id: str | None) -> Place | None:
    """Where a stream of events is to go on. None where nothing will follow the last event."""
    job = _own(session, project_id, job_id)
    if last_event_id is None:
        return Place(job.id, 0)
    sequence = queries.event_sequence(session, job.id, last_event_id)
    if sequence is None:
        raise InvalidRequest(
            f"'Last-Event-ID' is {last_event_id[:128]!r}, which is no event of the job; without it all come.",
            code="invalid_cursor",
            param="Last-Event-ID",
        )
    newest, _ = queries.events(session, job.id, after=None, limit=1)
    is_last = job.status in ENDED and newest[0].sequence == sequence
    return None if is_last else Place(job.id, sequence)


def checkpoints(
    session: Session, project_id: str, job_id: str, after: str | None, limit: int
) -> tuple[str, list[Checkpoint], bool]:
    """The name of the job's model, its checkpoints, and whether more follow."""
    job = _own(session, project_id, job_id)
    step = None
    if after is not None:
        step = queries.checkpoint_step(session, job.id, after)
        if step is None:
            raise unknown_cursor(after)
    found, has_more = queries.checkpoints(session, job.id, after=step, limit=limit)
    return lifecycle.fine_tuned_model_name(session, job), found, has_more


def checkpoint(session: Session, project_id: str, job_id: str, checkpoint_id: str) -> Checkpoint:
    """Raises NotFound, also for one that only serves a resume."""
    found = queries.find_checkpoint(session, _own(session, project_id, job_id).id, checkpoint_id)
    if found is None:
        raise NotFound(
            f"No such checkpoint: {checkpoint_id[:128]}. Of a job the last three and the best are kept.",
            code="checkpoint_not_found",
            param="checkpoint_id",
        )
    return found


def read_weights(store: ObjectStore, checkpoint: Checkpoint) -> Iterator[bytes]:
    """The adapter or the whole model in a zip. Raises NotFound before the first byte."""
    names = [entry["name"] for entry in checkpoint.files if entry["name"] not in (STATE_NAME, POSITION_NAME)]
    read = stored_folder(store, checkpoint.object_prefix, names)
    return zipped(((name, read(name)) for name in names), checkpoint.created_at)


def metrics(session: Session, project_id: str, job_id: str, wanted: series.Wanted) -> series.Found:
    """Of the job, or of one of its candidates."""
    return series.read(session, _own(session, project_id, job_id).id, wanted)


def candidates(session: Session, project_id: str, job_id: str) -> tuple[Job, list[Candidate]]:
    """A job, and how its candidates have fared so far."""
    job = _own(session, project_id, job_id)
    return job, queries.candidates(session, [job.id])[job.id]


def curves(session: Session, project_id: str, job_id: str) -> tuple[Job, list[Curve]]:
    """A job, and the curves of all its candidates."""
    job = _own(session, project_id, job_id)
    return job, queries.curves(session, job.id)


def _own(session: Session, project_id: str, job_id: str) -> Job:
    job = queries.find(session, project_id, job_id)
    if job is None:
        raise _no_such_job(job_id)
    return job


def _no_such_job(job_id: str) -> NotFound:
    return NotFound(
        f"Could not find fine tune: {job_id}", code="fine_tune_not_found", param="fine_tuning_job_id"
    )
