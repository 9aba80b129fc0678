"""Whose fault a lost trainer may be: read from the runs, and written by `core/jobs/lifecycle.py`.

A trainer that dies tells nobody which of its jobs did it. All of them are suspects then, and each is claimed
to compute alone until it has got past the step at which it was lost, and has made a checkpoint. So a second
loss is certainly its own.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from core.tables import Checkpoint, Job, Run


@dataclass(frozen=True)
class Company:
    """The jobs that a lost trainer held, by id, and the suspects among them: one, or none."""

    jobs: frozenset[str]
    suspects: frozenset[str]

    def may_blame(self, job_id: str) -> bool:
        """Whether the trainer's loss may be this job's doing. Beside a suspect, nobody else computes."""
        return not self.suspects or job_id in self.suspects

    @property
    def proves(self) -> bool:
        """Whether it is the doing of whoever may be blamed, since no other job computed."""
        return bool(self.suspects) or len(self.jobs) == 1


def is_suspect(session: Session, job: Job) -> bool:
    """Whether its last trainer was lost, perhaps through it, and it has made no checkpoint since."""
    return trial_step(session, job) is not None


def trial_step(session: Session, job: Job) -> int | None:
    """The step at which a suspect's lost run stood, as its last heartbeat told; None where it is no suspect.

    A run that was lost before it trained stands where the one before it did.
    """
    if job.lost_attempts == 0:
        return None
    ended = select(Run.outcome, Run.step).where(Run.job_id == job.id, Run.ended_at.is_not(None))
    last = session.execute(ended.order_by(Run.fence.desc()).limit(1)).first()
    return last.step if last is not None and last.outcome == "lost" else None


def companies(session: Session, owners: Iterable[str]) -> dict[str, Company]:
    """What these trainers held."""
    return {owner: _company(session, owner) for owner in owners}


def _company(session: Session, owner: str) -> Company:
    """Also those whose loss is written already: leases do not end together, and scans find them one by one.

    A trainer that lives on after a loss has more company than it should. That proves less, and blames nobody
    falsely.
    """
    made_a_checkpoint = exists().where(Checkpoint.job_id == Run.job_id, Checkpoint.fence == Run.fence)
    held = (
        select(Run.job_id, Run.alone & ~made_a_checkpoint)
        .where(Run.owner == owner, Run.ended_at.is_(None) | (Run.outcome == "lost"))
        .order_by(Run.fence)
    )
    suspected = dict(session.execute(held).all())  # each job by its last run there
    return Company(frozenset(suspected), frozenset(job_id for job_id in suspected if suspected[job_id]))
