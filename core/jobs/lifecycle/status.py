"""The changes of a job's status that clients, workers and losses share, each with its event."""

from sqlalchemy import delete, func, update
from sqlalchemy.orm import Session

from core import artifacts, webhooks
from core.errors import JobError
from core.jobs.events import record_event
from core.jobs.lifecycle.locks import open_claim_of
from core.statuses import ENDED
from core.strict_json import storable
from core.tables import Artifact, Checkpoint, Claim, Job

TRANSITIONS = {
    "queued": {"running", "paused", "failed", "cancelled"},
    "running": {"queued", "paused", "succeeded", "failed", "cancelled"},
    "paused": {"queued", "cancelled"},
    "succeeded": set[str](),
    "failed": set[str](),
    "cancelled": set[str](),
}


def move(session: Session, job: Job, status: str) -> None:
    """Change the status of a locked job.

    At the job's end, write its webhooks, and give up what only a running job needs.
    """
    if status not in TRANSITIONS[job.status]:
        raise AssertionError(f"{job.id}: no transition leads from {job.status} to {status}")
    job.status = status
    if status in ENDED:
        webhooks.announce_end(session, job)
        _give_up_what_only_a_running_job_needs(session, job.id)


def end_claim(session: Session, job: Job, outcome: str) -> None:
    """Close the job's open claim, if it has one."""
    session.execute(
        update(Claim)
        .where(Claim.job_id == job.id, Claim.ended_at.is_(None))
        .values(ended_at=func.now(), outcome=outcome, seconds_left=None)
    )


def fail_job(session: Session, job: Job, outcome: str, error: JobError) -> None:
    """End the job with an error, and its claim with `outcome`."""
    job.error = {"code": error.code, "message": storable(error.message), "param": error.param}
    job.finished_at = func.now()
    move(session, job, "failed")
    end_claim(session, job, outcome)
    record_event(
        session, job.id, f"The job failed: {error.message}", level="error", data={"code": error.code}
    )


def give_back(session: Session, job: Job, outcome: str, message: str) -> None:
    """Put the job back into the queue, or pause it if a pause was requested.

    So a requested pause takes effect even if the trainer is gone.
    """
    record_event(session, job.id, message, level="warn")
    if pause_is_requested(session, job):
        pause_job(session, job, outcome)
        return
    move(session, job, "queued")
    end_claim(session, job, outcome)


def pause_job(session: Session, job: Job, outcome: str) -> None:
    """Pause the job, and end its claim with `outcome`."""
    move(session, job, "paused")
    end_claim(session, job, outcome)
    record_event(session, job.id, "The job was paused", data={"code": "paused"})


def pause_is_requested(session: Session, job: Job) -> bool:
    """Return whether the trainer of a locked job has been asked to pause it."""
    claim = open_claim_of(session, job)
    return claim is not None and claim.pause_requested_at is not None


def _give_up_what_only_a_running_job_needs(session: Session, job_id: str) -> None:
    """Delete the checkpoints that the API does not list, and doom what trainers may still be writing."""
    unlisted = delete(Checkpoint).where(Checkpoint.job_id == job_id, ~Checkpoint.listed)
    prefixes = session.scalars(unlisted.returning(Checkpoint.object_prefix)).all()
    artifacts.doom(session, Artifact.prefix.in_(prefixes))
    artifacts.doom(session, artifacts.of("job", [job_id]), artifacts.WRITING, grace=artifacts.GRACE)
