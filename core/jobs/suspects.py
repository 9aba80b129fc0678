"""Finds the jobs that may have caused the loss of a trainer, by their claims. `core/jobs/lifecycle` uses it.

A trainer that dies cannot say which of its jobs caused it. So all of its jobs become suspects. After its next
claim, a suspect computes alone until a checkpoint of a later step than the one at which it was lost. If its
trainer is lost again before that, the suspect itself has caused the loss.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from core.tables import Checkpoint, Claim, Job


@dataclass(frozen=True)
class LostTrainer:
    """The ids of the jobs that a lost trainer held. `suspects` holds the suspect among them, if any."""

    jobs: frozenset[str]
    suspects: frozenset[str]

    def may_blame(self, job_id: str) -> bool:
        """Whether this job may have caused the loss. If there was a suspect, no other job computed."""
        return not self.suspects or job_id in self.suspects

    @property
    def blame_is_proven(self) -> bool:
        """Whether it is certain which job caused the loss, since only one job computed."""
        return bool(self.suspects) or len(self.jobs) == 1


def is_suspect(session: Session, job: Job) -> bool:
    """Return whether the job may have caused the loss of its last trainer, so that it must compute alone."""
    return step_to_pass(session, job) is not None


def step_to_pass(session: Session, job: Job) -> int | None:
    """Return the step that a suspect must pass while it trains alone, or None for any other job.

    It is the step that the lost claim reported in its last heartbeat. If a claim was lost before it trained,
    the step is that of the claim before it.
    """
    if job.lost_attempts == 0:
        return None
    ended = select(Claim.outcome, Claim.step).where(Claim.job_id == job.id, Claim.ended_at.is_not(None))
    last = session.execute(ended.order_by(Claim.fence.desc()).limit(1)).first()
    return last.step if last is not None and last.outcome == "lost" else None


def lost_trainers(session: Session, owners: Iterable[str]) -> dict[str, LostTrainer]:
    """Return, for each of these lost trainers, the jobs that it held."""
    return {owner: _lost_trainer(session, owner) for owner in owners}


def _lost_trainer(session: Session, owner: str) -> LostTrainer:
    """Return the jobs that the trainer held, including those whose loss is written already.

    The leases of a trainer's jobs end at different times, so scans find its lost jobs one after another. If a
    trainer lives on after a loss, it seems to hold more jobs than it does. Then less is proved, but no job is
    blamed falsely.
    """
    before = aliased(Claim)
    lost_at = select(before.step).where(
        before.job_id == Checkpoint.job_id, before.fence == Checkpoint.fence - 1
    )
    passed = exists().where(
        Checkpoint.job_id == Claim.job_id,
        Checkpoint.fence == Claim.fence,
        # If that claim's row was removed as old, any checkpoint counts
        Checkpoint.step > func.coalesce(lost_at.scalar_subquery(), 0),
    )
    held = (
        select(Claim.job_id, Claim.alone & ~passed)
        .where(Claim.owner == owner, Claim.ended_at.is_(None) | (Claim.outcome == "lost"))
        .order_by(Claim.fence)
    )
    suspected = dict(session.execute(held).all())  # a job's last claim with this trainer decides
    return LostTrainer(frozenset(suspected), frozenset(job_id for job_id in suspected if suspected[job_id]))
