"""Leases on trackers: a row of `Tracker` says which process reports a job to a tracker, and how far it got.

One process holds a tracker at a time. A process that ends gives its lease back. If a process is killed or
hangs, its lease runs out, and the next process that takes the tracker counts a failure. After several
failures in a row without progress, over more than half a day, the tracker is given up.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.database import from_now
from core.errors import TuneryError
from core.jobs import lifecycle
from core.tables import Job, Metric, Tracker

LEASE_SECONDS = 120  # longer than any library waits for its server before it raises
# Seconds until the next try, after each failure in a row. After one failure more, the tracker is given up.
DELAYS = (30, 2 * 60, 10 * 60, 3600, 3 * 3600, 8 * 3600)
MAX_POINTS = 100  # the most steps between two renewals of the lease: MLflow needs a request for each step
REPORTABLE = ("running", "succeeded", "failed", "cancelled")
# Built once, since workers ask every second
DUE = (
    select(Tracker)
    .join(Job, Job.id == Tracker.job_id)
    .where(Tracker.ended_at.is_(None), Tracker.held_until <= func.now())
    .where(Job.status.in_(REPORTABLE), Job.deleted_at.is_(None))
    .order_by(Tracker.held_until)
    .limit(1)
    .with_for_update(of=Tracker, skip_locked=True)
)


class TrackerLeaseLost(TuneryError):
    """Another process has the tracker now; this process stops and writes nothing."""


@dataclass(frozen=True)
class TrackerLease:
    """The right to report a job to one tracker."""

    job_id: str
    type: str
    holder: str


@dataclass(frozen=True)
class Backlog:
    """The job's status, and the numbers and metrics of the steps to report next, the oldest first."""

    status: str
    points: list[tuple[int, dict[str, Any]]]


def take(session: Session, holder: str) -> TrackerLease | None:
    """Take a tracker that no process holds, and whose job may have something to report.

    If the lease of a lost process ran out, count the failure and return None.
    """
    tracker = session.scalars(DUE).one_or_none()
    if tracker is None:
        return None
    if tracker.holder is not None:
        _count_failure(
            session, tracker, f"the reporting process died, or did not answer for {LEASE_SECONDS} s"
        )
        return None
    tracker.holder, tracker.held_until = holder, from_now(LEASE_SECONDS)
    return TrackerLease(tracker.job_id, tracker.type, holder)


def reported_step(session: Session, lease: TrackerLease) -> int:
    """Return the last step that was reported. Raises TrackerLeaseLost."""
    return _held(session, lease).reported_step


def renew(session: Session, lease: TrackerLease, *, reported: int, after: int) -> Backlog:
    """Renew the lease, write that steps up to `reported` are reported, and return the steps after `after`.

    The status is read before the steps. So if it says that the job has ended, all steps have been written.
    Raises TrackerLeaseLost.
    """
    tracker = _held(session, lease)
    tracker.held_until = from_now(LEASE_SECONDS)
    if reported > tracker.reported_step:
        tracker.reported_step, tracker.failures = reported, 0
    status = session.scalars(select(Job.status).where(Job.id == lease.job_id)).one()
    query = select(Metric).where(Metric.job_id == lease.job_id, Metric.step > after)
    metrics = session.scalars(query.order_by(Metric.step).limit(MAX_POINTS))
    return Backlog(status, [(metric.step, metric.data) for metric in metrics])


def give_back(session: Session, lease: TrackerLease) -> None:
    """Let another process continue, now or when the job runs again. Raises TrackerLeaseLost."""
    tracker = _held(session, lease)
    tracker.holder, tracker.held_until = None, func.now()


def end(session: Session, lease: TrackerLease) -> None:
    """Write that everything is reported. Raises TrackerLeaseLost."""
    _held(session, lease).ended_at = func.now()


def refuse(session: Session, lease: TrackerLease, reason: str) -> None:
    """Give the tracker up at once, because another try would fail too. Raises TrackerLeaseLost."""
    _give_up(session, _held(session, lease), reason)


def fail(session: Session, lease: TrackerLease, reason: str) -> None:
    """Try again later, or give the tracker up after several failures in a row. Raises TrackerLeaseLost."""
    _count_failure(session, _held(session, lease), reason)


def holding(session: Session, holders: Collection[str]) -> set[str | None]:
    """Return those of `holders` whose lease has not ended, run out or been taken from them."""
    query = select(Tracker.holder).where(
        Tracker.holder.in_(holders), Tracker.ended_at.is_(None), Tracker.held_until > func.now()
    )
    return set(session.scalars(query))


def _held(session: Session, lease: TrackerLease) -> Tracker:
    tracker = session.get(Tracker, (lease.job_id, lease.type), with_for_update=True, populate_existing=True)
    if tracker is None or tracker.holder != lease.holder or tracker.ended_at is not None:
        raise TrackerLeaseLost(f"{lease.job_id}: another process reports to {lease.type} by now")
    return tracker


def _count_failure(session: Session, tracker: Tracker, reason: str) -> None:
    tracker.failures += 1
    if tracker.failures > len(DELAYS):
        _give_up(session, tracker, f"{reason}, {tracker.failures} times in a row")
        return
    tracker.holder, tracker.held_until = None, from_now(DELAYS[tracker.failures - 1])
    if tracker.failures == 1:
        _warn(session, tracker, f"Reporting to {tracker.type} failed and is tried again: {reason}")


def _give_up(session: Session, tracker: Tracker, reason: str) -> None:
    tracker.ended_at = func.now()
    _warn(session, tracker, f"Reporting to {tracker.type} was given up; training goes on: {reason}")


def _warn(session: Session, tracker: Tracker, message: str) -> None:
    data = {"integration": tracker.type}
    lifecycle.record_outside_event(session, tracker.job_id, message, level="warn", data=data)
