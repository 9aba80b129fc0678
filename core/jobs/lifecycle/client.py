"""The changes that a client asks for: submit, cancel, delete, pause, resume."""

from sqlalchemy import func
from sqlalchemy.orm import Session

from core import artifacts
from core.artifacts import Owner
from core.errors import InvalidRequest
from core.jobs.events import record_event, record_messages
from core.jobs.lifecycle.lease import is_before_training
from core.jobs.lifecycle.locks import lock, open_claim_of
from core.jobs.lifecycle.status import TRANSITIONS, end_claim, move, pause_is_requested, pause_job
from core.process.failpoints import reached
from core.statuses import ENDED
from core.tables import Job
from core.tracing import spans


def submit(session: Session, job: Job) -> None:
    """Add a new job, queued, with its first events. What its client has written counts for the quota."""
    job.status, job.traceparent = "queued", spans.current().traceparent
    session.add(job)
    session.flush()
    artifacts.hold(
        session, Owner("job", job.id), job.project_id, job.spec, job.client_metadata, job.integrations
    )
    first = f"Created fine-tuning job: {job.id}", "Files validated, moving job to queued state"
    record_messages(session, job.id, *first)


def cancel(session: Session, job: Job) -> None:
    """Cancel a job at once. Its worker finds at the next renewal that the lease is gone.

    Raises InvalidRequest if the job has ended.
    """
    lock(session, job)
    if "cancelled" not in TRANSITIONS[job.status]:
        raise _refusal(job, "only a queued, running or paused job can be cancelled", "job_not_cancellable")
    job.finished_at = func.now()
    move(session, job, "cancelled")
    end_claim(session, job, "cancelled")
    record_event(session, job.id, "The job was cancelled")
    reached("job.cancelled")


def delete(session: Session, job: Job) -> None:
    """Hide an ended job from everybody. After a while, the janitor removes its checkpoints and its rows.

    Raises InvalidRequest if the job has not ended.
    """
    lock(session, job)
    if job.status not in ENDED:
        raise _refusal(job, "only a job that has ended can be deleted. Cancel it first", "job_not_deletable")
    job.deleted_at = func.now()
    artifacts.doom(session, artifacts.of("job", [job.id]), grace=artifacts.GRACE)
    session.flush()
    reached("job.deleted")


def pause(session: Session, job: Job) -> None:
    """Pause a job at once if its claim has made no step yet. Otherwise ask its trainer to pause it.

    A claim without a step loses nothing when it is closed, even while its trainer is busy. `finish_pause`
    does the trainer's part. A second request changes nothing. Raises InvalidRequest if the job has ended or
    is paused.
    """
    lock(session, job)
    if "paused" not in TRANSITIONS[job.status]:
        raise _refusal(job, "only a queued or running job can be paused", "job_not_pausable")
    claim = open_claim_of(session, job)
    if claim is None or claim.step == 0 or is_before_training(claim.phase):
        pause_job(session, job, "paused")
    elif claim.pause_requested_at is None:
        claim.pause_requested_at = func.now()
        record_event(session, job.id, "The job will be paused once its trainer has saved a checkpoint")
    session.flush()
    reached("pause.written")


def resume(session: Session, job: Job) -> None:
    """Put a paused job back into its old position in the queue, or withdraw a pause that is only requested.

    Raises InvalidRequest if the job is not paused and no pause is requested.
    """
    lock(session, job)
    if job.status == "running" and pause_is_requested(session, job):
        claim = open_claim_of(session, job)
        assert claim is not None
        claim.pause_requested_at = None
        record_event(session, job.id, "The request to pause was withdrawn")
        return
    if job.status != "paused":
        raise _refusal(job, "only a paused job can be resumed", "job_not_resumable")
    move(session, job, "queued")
    record_event(session, job.id, "The job was resumed and waits for a worker")


def _refusal(job: Job, rule: str, code: str) -> InvalidRequest:
    states = {"succeeded": "has already succeeded", "failed": "has already failed"}
    states |= {"cancelled": "has already been cancelled"}
    state = states.get(job.status, f"is {job.status}")
    return InvalidRequest(f"Job {job.id} {state}; {rule}.", code=code)
