"""The writes of a worker: it claims a job, records checkpoints, ends or returns the job.

Each write carries the job's id, fence and nonce. If they no longer name an open claim, it raises LeaseLost
and writes nothing.
"""

import socket
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from core.database import from_now
from core.errors import JobError
from core.ids import new_id
from core.jobs import queue
from core.jobs.events import record_event, record_messages
from core.jobs.lifecycle.lease import NO_PROGRESS, Lease, Progress
from core.jobs.lifecycle.locks import owned_job
from core.jobs.lifecycle.status import (
    end_claim,
    fail_job,
    give_back,
    move,
    pause_is_requested,
    pause_job,
)
from core.jobs.suspects import step_to_pass
from core.tables import Adapter, Checkpoint, Claim, File, Job, Project, Worker
from core.tables.jobs.jobs import MODEL_ID_LENGTH


def claim(
    session: Session,
    owner: str,
    lease_seconds: float,
    *,
    nonce: str | None = None,
    project_jobs: int | None = None,
    devices: int = 1,
    accepts: Callable[[Job], bool] = lambda _job: True,
    passed_over: Collection[str] = (),
    looks_first: bool = False,
) -> Lease | None:
    """Claim the next job of a device class. Return None if no job waits, or if `accepts` refuses that job.

    `core.jobs.queue` defines the order and the limit `project_jobs`. A refused job holds up the jobs behind
    it, so that small or similar jobs cannot overtake it for ever. `passed_over` holds ids of jobs that are
    skipped and hold up nothing: another worker may be able to train them.

    `nonce` becomes that of the lease. If the answer to a commit was lost, call this again with the same
    nonce: it returns the lease of the first call if that was committed, and claims a job otherwise.

    Claims wait for each other. With `looks_first`, a claim waits only once it has seen a job that it would
    take, and does not look for an earlier claim: the nonce must be new.
    """
    if looks_first and not _would_claim(session, project_jobs, devices, accepts, passed_over):
        return None
    queue.wait_for_other_claims(session)  # also for an own claim that the database may still be committing
    nonce = nonce or new_id("")
    if not looks_first and (claimed := _claimed_before(session, owner, nonce, lease_seconds)):
        return claimed
    job = queue.next_job(session, project_jobs, devices, passed_over)
    if job is None or not accepts(job):
        return None
    progress = _last_progress(session, job)
    lease = Lease(job.id, job.fence + 1, nonce, lease_seconds, progress, step_to_pass(session, job))
    job.fence = lease.fence
    move(session, job, "running")
    if job.started_at is None:
        job.started_at = func.now()
    session.flush()
    expires_at = from_now(lease_seconds)
    session.add(
        Claim(
            job_id=job.id,
            fence=lease.fence,
            owner=owner,
            nonce=nonce,
            alone=lease.alone,
            expires_at=expires_at,
            **vars(progress),
        )
    )
    message = (
        "Fine-tuning job started"
        if job.fence == 1
        else f"Fine-tuning job started again (attempt {job.fence})"
    )
    record_event(session, job.id, message, data={"code": "claimed"})
    return lease


def record_checkpoint(session: Session, lease: Lease, checkpoint: Checkpoint) -> None:
    """Record an uploaded checkpoint, and an event if clients can see the checkpoint. Raises LeaseLost.

    A checkpoint proves progress, so the count of lost trainers returns to 0. If the answer of a commit was
    lost and this is called again, the second call changes nothing.
    """
    job = owned_job(session, lease)
    job.lost_attempts = 0
    session.merge(checkpoint)
    if checkpoint.listed:
        event_id = checkpoint.id.replace("ftckpt-", "ftevent-")
        record_event(session, job.id, f"Checkpoint saved at step {checkpoint.step}", event_id=event_id)


def record_data_check(session: Session, lease: Lease, found: list[dict[str, Any]]) -> None:
    """Write what the check of the job's rows has found. Raises LeaseLost."""
    owned_job(session, lease).data_check = found


def finish(
    session: Session,
    lease: Lease,
    adapter: Adapter,
    result: File,
    trained_tokens: int,
    spec: dict[str, Any] | None = None,
) -> None:
    """Write adapter, result file, status and events in one transaction. Raises LeaseLost.

    The job's result exists from this commit on. If several candidates were trained and one is left, `spec`
    replaces the job's specification.
    """
    job = owned_job(session, lease)
    job.spec = spec or job.spec
    session.add_all([adapter, result])
    session.flush()
    job.fine_tuned_model = fine_tuned_model_name(session, job)
    job.result_file_id = result.id
    job.trained_tokens = trained_tokens
    job.finished_at = func.now()
    move(session, job, "succeeded")
    end_claim(session, job, "succeeded")
    last = f"New fine-tuned model created: {job.fine_tuned_model}", "The job has successfully completed"
    record_messages(session, job.id, *last)


def fail(session: Session, lease: Lease, error: JobError) -> None:
    """End the job with an error that its client can act on. Raises LeaseLost."""
    fail_job(session, owned_job(session, lease), "failed", error)


def release(session: Session, lease: Lease, reason: str) -> None:
    """Return an unfinished job to the queue, for a reason that is not the job's own. Raises LeaseLost.

    The reason may be that the worker shuts down, or that a server fails. It does not count as a lost trainer.
    """
    job = owned_job(session, lease)
    give_back(session, job, "released", f"{reason}; the job waits for a worker")


def finish_pause(session: Session, lease: Lease) -> bool:
    """Carry out a requested pause after the checkpoint. Return whether the job is paused. Raises LeaseLost.

    If the request has been withdrawn meanwhile, nothing is written.
    """
    job = owned_job(session, lease)
    if not pause_is_requested(session, job):
        return False
    pause_job(session, job, "paused")
    return True


def holds_a_claim(session: Session, owner: str) -> bool:
    """Return whether the trainer `owner` holds a job."""
    open_claims = select(Claim.job_id).where(Claim.owner == owner, Claim.ended_at.is_(None)).limit(1)
    return session.scalars(open_claims).first() is not None


def new_owner() -> str:
    """Return the name of a new trainer on this machine."""
    return f"{socket.gethostname()}:{new_id('')}"


def trains_here(session: Session) -> bool:
    """Return whether a trainer on this machine holds a job, and computes on the CPU as far as it has said."""
    ours = Claim.owner.startswith(f"{socket.gethostname()}:", autoescape=True)
    holds = Claim.ended_at.is_(None), Claim.expires_at > func.now()
    on_gpu = select(Worker.owner).where(Worker.owner == Claim.owner, Worker.device_type != "cpu").exists()
    return session.scalars(select(Claim.job_id).where(ours, *holds, ~on_gpu).limit(1)).first() is not None


def fine_tuned_model_name(session: Session, job: Job) -> str:
    """Return the name of the job's model."""
    return model_name(session, job.base_model, job.project_id, job.suffix, job.id)


def model_name(session: Session, base_model: str, project_id: str, suffix: str | None, owner_id: str) -> str:
    """Return ft:BASE:PROJECT:SUFFIX:ID, as OpenAI names fine-tuned models.

    `owner_id` is the id of the job, or of an adapter without a job.
    """
    project = session.get_one(Project, project_id)
    return f"ft:{base_model}:{project.name}:{suffix or ''}:{owner_id[-MODEL_ID_LENGTH:]}"


def _would_claim(
    session: Session,
    project_jobs: int | None,
    devices: int,
    accepts: Callable[[Job], bool],
    passed_over: Collection[str],
) -> bool:
    """Return whether `accepts` takes the next job as it is now, before the queue is locked."""
    job_id = queue.first_job(session, project_jobs, devices, passed_over)
    job = session.get(Job, job_id) if job_id else None
    if job is None:
        return False
    try:
        return accepts(job)
    finally:
        session.expunge(job)  # it is read again under the lock


def _claimed_before(session: Session, owner: str, nonce: str, lease_seconds: float) -> Lease | None:
    """Return the lease that the trainer holds with this nonce, renewed. None if there is no such claim."""
    own = Claim.owner == owner, Claim.nonce == nonce, Claim.ended_at.is_(None)
    renewed = update(Claim).where(*own).values(expires_at=from_now(lease_seconds)).returning(Claim)
    claim = session.scalars(renewed).one_or_none()
    if claim is None:
        return None
    progress = Progress(**{name: getattr(claim, name) for name in vars(NO_PROGRESS)})
    suspect = step_to_pass(session, session.get_one(Job, claim.job_id))
    return Lease(claim.job_id, claim.fence, nonce, lease_seconds, progress, suspect)


def _last_progress(session: Session, job: Job) -> Progress:
    """Return the progress that a continued job shows until its trainer has restored a checkpoint."""
    last = session.get(Claim, (job.id, job.fence)) if job.fence else None
    if last is None:
        return NO_PROGRESS
    kept = ("step", "total_steps", "epoch", "trained_tokens", "best_valid_loss", "best_step")
    return replace(NO_PROGRESS, **{name: getattr(last, name) for name in kept})
