"""The changes after a trainer is lost: its jobs return to the queue, or fail after repeated losses."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import JobError
from core.jobs.lifecycle.status import fail_job, give_back
from core.jobs.suspects import lost_trainers
from core.tables import Claim, Job
from core.tracing import spans

# The codes of the errors with which jobs end that have lost too many trainers
LOST, OUT_OF_MEMORY = "worker_lost", "out_of_memory"
ADVICE = {LOST: "", OUT_OF_MEMORY: " Lower training.max_length or adapter.r, or choose a smaller model."}


def lose_claims_of(
    session: Session, owner: str, reason: str, max_lost_attempts: int, code: str = LOST
) -> list[str]:
    """Requeue the jobs of a dead trainer. Return the jobs' ids.

    `reason` says why it died, and so does `code` if a job fails for it: LOST or OUT_OF_MEMORY.
    """
    return _lose(session, Claim.owner == owner, reason, max_lost_attempts, code)


def release_claims_of(session: Session, owner: str, reason: str) -> list[str]:
    """Requeue the jobs of a trainer that was stopped on purpose. Return the jobs' ids.

    This does not count as a lost trainer.
    """
    return _release(session, Claim.owner == owner, reason)


def release_expired_claims(session: Session, reason: str) -> list[str]:
    """Requeue the jobs whose leases no trainer could have renewed. Return their ids.

    This does not count as a lost trainer.
    """
    return _release(session, Claim.expires_at < func.now(), reason)


def _release(session: Session, condition: Any, reason: str) -> list[str]:
    claims = _held_claims(session, condition)
    for job, owner in claims:
        _mark(job, owner, "job.released")
        give_back(session, job, "released", f"{reason}; the job will go on from its last checkpoint")
    return [job.id for job, _ in claims]


def lose_expired_claims(session: Session, max_lost_attempts: int) -> list[str]:
    """Requeue the jobs whose trainer has not renewed its lease. Return their ids."""
    return _lose(session, Claim.expires_at < func.now(), "The trainer stopped answering", max_lost_attempts)


def _lose(
    session: Session, condition: Any, reason: str, max_lost_attempts: int, code: str = LOST
) -> list[str]:
    """Requeue the jobs of lost trainers, and count the loss for each job that may have caused it.

    Every job that may have caused the loss becomes a suspect (`core/jobs/suspects.py`). A job fails only if
    it is proved that it caused the loss.
    """
    claims = _held_claims(session, condition)
    trainers = lost_trainers(session, {owner for _, owner in claims})
    for job, owner in claims:
        _mark(job, owner, "job.lost", code)
        trainer = trainers[owner]
        if trainer.may_blame(job.id):
            limit = max_lost_attempts if trainer.blame_is_proven else None
            _count_loss(session, job, reason, limit, code)
        else:
            give_back(session, job, "lost", f"{reason}; the job will go on from its last checkpoint")
    return [job.id for job, _ in claims]


def _mark(job: Job, owner: str, name: str, code: str | None = None) -> None:
    """Tell the job's trace that its trainer does not have it any more, and why."""
    known = {"tunery.job.id": job.id, "tunery.job.attempt": job.fence, "tunery.trainer": owner}
    spans.mark(name, known, parent=job.traceparent, code=code)


def _held_claims(session: Session, condition: Any) -> list[tuple[Job, str]]:
    """Return the running jobs that meet the condition, locked, with the owners of their claims.

    Skip the jobs that other transactions have locked.
    """
    rows = session.execute(
        select(Job, Claim.owner)
        .join(Claim, (Claim.job_id == Job.id) & (Claim.fence == Job.fence))
        .where(Claim.ended_at.is_(None), Job.status == "running", condition)
        .with_for_update(skip_locked=True, key_share=True)
    )
    return [(job, owner) for job, owner in rows]


def _count_loss(session: Session, job: Job, reason: str, max_lost_attempts: int | None, code: str) -> None:
    """Count a loss, and requeue the job. Fail it instead when the count reaches `max_lost_attempts`.

    If `max_lost_attempts` is None, the job does not fail.
    """
    job.lost_attempts += 1
    if max_lost_attempts is not None and job.lost_attempts >= max_lost_attempts:
        message = f"{reason}, {job.lost_attempts} times in a row without a checkpoint in between."
        fail_job(session, job, "lost", JobError(code, message + ADVICE[code]))
        return
    trial = "It trains alone until it has saved a checkpoint beyond the step at which it was lost"
    give_back(session, job, "lost", f"{reason}; the job will go on from its last checkpoint. {trial}")
