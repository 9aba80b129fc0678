"""Who may write: a job is locked first, then its open claim. All functions work in the caller's transaction.

The lock on a job (FOR NO KEY UPDATE) lets other transactions add events. A heartbeat needs this: it locks
only the claim, and adds events.
"""

from typing import Any, Unpack

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.errors import LeaseLost
from core.jobs.events import EventOptions, record_event
from core.jobs.lifecycle.lease import Lease
from core.tables import Claim, Job
from core.tracing import spans


def owned_job(session: Session, lease: Lease) -> Job:
    """Return the job of a lease, locked until the transaction ends. Raises LeaseLost."""
    job = session.scalars(
        select(Job)
        .join(Claim, (Claim.job_id == Job.id) & (Claim.fence == Job.fence))
        .where(*is_open_claim(lease), Job.status == "running")
        .with_for_update(key_share=True)
    ).one_or_none()
    if job is None:
        raise lease_lost(lease)
    return job


def lock(session: Session, job: Job) -> None:
    """Lock the job until the transaction ends, and read its row again.

    The trace of the request that changes the job gets a link to the job's own trace.
    """
    session.refresh(job, with_for_update={"key_share": True})
    spans.current().link(job.traceparent)


def open_claim_of(session: Session, job: Job) -> Claim | None:
    """Return the job's open claim, locked. The caller has locked the job."""
    query = select(Claim).where(Claim.job_id == job.id, Claim.ended_at.is_(None))
    return session.scalars(query.with_for_update().execution_options(populate_existing=True)).one_or_none()


def record_outside_event(
    session: Session, job_id: str, message: str, event_id: str | None = None, **options: Unpack[EventOptions]
) -> None:
    """Append to the log of a job that the caller does not hold, after other transactions that write to it."""
    job = session.get_one(Job, job_id, with_for_update={"key_share": True}, populate_existing=True)
    open_claim_of(session, job)
    record_event(session, job_id, message, event_id=event_id, **options)


def is_open_claim(lease: Lease) -> tuple[Any, ...]:
    """Return the conditions of a query that selects the claim of this lease if the claim is still open."""
    same_claim = Claim.job_id == lease.job_id, Claim.fence == lease.fence, Claim.nonce == lease.nonce
    return *same_claim, Claim.ended_at.is_(None)


def lease_lost(lease: Lease) -> LeaseLost:
    """Return the error for a write whose lease is no longer valid."""
    return LeaseLost(f"{lease.job_id}: the lease {lease.attempt} does not own the job any more")
