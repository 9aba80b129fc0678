"""Renews leases: all of a trainer's in one statement, since it renews them twice a second."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import ARRAY, Double, Update, bindparam, column, func, select, update
from sqlalchemy.orm import Session

from core.jobs.lifecycle.lease import NO_PROGRESS, Lease, Progress
from core.jobs.lifecycle.locks import lease_lost
from core.tables import Claim

KEY = ("job_id", "fence", "nonce")
CLAIMS = Claim.metadata.tables[Claim.__tablename__]  # without the ORM, which would take as long again
PROGRESS = {name: CLAIMS.c[name].type.python_type for name in vars(NO_PROGRESS)}


def renew(session: Session, lease: Lease, progress: Progress) -> bool:
    """Extend the lease and write the claim's progress. Return whether to pause. Raises LeaseLost."""
    renewed = renew_all(session, {lease: progress})
    if lease not in renewed:
        raise lease_lost(lease)
    return renewed[lease]


def renew_all(session: Session, progress: Mapping[Lease, Progress]) -> dict[Lease, bool]:
    """Extend leases and write the claims' progress. Return whether to pause, for each lease that is not lost.

    The statement changes only the rows of the claims, not those of the jobs, so that heartbeats do not block
    the queue.
    """
    values = {_array(name): [getattr(lease, name) for lease in progress] for name in (*KEY, "seconds")}
    values |= {
        _array(name): [_as(kind, getattr(each, name)) for each in progress.values()]
        for name, kind in PROGRESS.items()
    }
    renewed = {row.nonce: row.pause_requested_at is not None for row in session.execute(RENEWAL, values)}
    return {lease: renewed[lease.nonce] for lease in progress if lease.nonce in renewed}


def _renewal() -> Update:
    """Return the statement, whose parameters are arrays with a value for each lease.

    All claims are locked in the order of their jobs. So two transactions that lock several of them cannot
    wait for each other.
    """
    claim = CLAIMS.c
    columns = [column(name, claim[name].type) for name in (*KEY, *PROGRESS)] + [column("seconds", Double())]
    arrays = [bindparam(_array(each.name), type_=ARRAY(each.type)) for each in columns]
    asked = func.unnest(*arrays).table_valued(*columns).render_derived("asked")
    held = (
        select(*asked.c)
        .where(*(claim[name] == asked.c[name] for name in KEY), claim.ended_at.is_(None))
        .order_by(asked.c.job_id)
        .with_for_update(of=CLAIMS, key_share=True)
        .cte("held")
    )
    lasts = func.make_interval(0, 0, 0, 0, 0, 0, held.c.seconds)
    return (
        update(CLAIMS)
        .where(claim.job_id == held.c.job_id, claim.fence == held.c.fence)
        .values(expires_at=func.now() + lasts, **{name: held.c[name] for name in PROGRESS})
        .returning(claim.nonce.label("nonce"), claim.pause_requested_at)
    )


def _as(kind: type, value: Any) -> Any:
    """Return the value in its column's type: the driver refuses a list in which 1 stands beside 0.5."""
    return None if value is None else kind(value)


def _array(name: str) -> str:
    """Return the name of a parameter, which must not be that of a column."""
    return f"{name}_of_each"


# Built once: to build it takes longer than to run it.
RENEWAL = _renewal()
