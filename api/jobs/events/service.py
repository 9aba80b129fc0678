"""Finds the events of a job that a client asks for. Nothing here commits."""

from sqlalchemy.orm import Session

from api.http.paging import unknown_cursor
from api.jobs.events import queries
from api.jobs.events.feed import Cursor
from api.jobs.service import own_job
from core.errors import InvalidRequest
from core.statuses import ENDED
from core.tables import Event


def list_page(
    session: Session, project_id: str, job_id: str, type: str | None, after: str | None, limit: int
) -> tuple[list[Event], bool]:
    """Return events of one type, or of all types if `type` is None, and whether more follow.

    Raises NotFound, and InvalidRequest if `after` is not an event of the job.
    """
    job = own_job(session, project_id, job_id)
    sequence = None
    if after is not None:
        sequence = queries.sequence_of(session, job.id, after)
        if sequence is None:
            raise unknown_cursor(after)
    return queries.page(session, job.id, after=sequence, limit=limit, type=type)


def cursor_after(session: Session, project_id: str, job_id: str, last_event_id: str | None) -> Cursor | None:
    """Return the cursor at which a stream of events goes on, or None if no event will follow `last_event_id`.

    Raises NotFound, and InvalidRequest if `last_event_id` is not an event of the job.
    """
    job = own_job(session, project_id, job_id)
    if last_event_id is None:
        return Cursor(job.id, 0)
    sequence = queries.sequence_of(session, job.id, last_event_id)
    if sequence is None:
        raise InvalidRequest(
            f"The header 'Last-Event-ID' is {last_event_id[:128]!r}, which is not an event of this job. "
            "Leave the header out to get all events.",
            code="invalid_cursor",
            param="Last-Event-ID",
        )
    newest, _ = queries.page(session, job.id, after=None, limit=1)
    is_last = job.status in ENDED and newest[0].sequence == sequence
    return None if is_last else Cursor(job.id, sequence)
