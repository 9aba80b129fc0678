"""Who reports a job to a tracker, and how far: rows of `Tracker`, which one process holds at a time.

A process that ends gives its lease back; one that is killed, or hangs, lets it run out, and the next one that
takes the tracker counts that as a failure. After some in a row without progress, over half a day, the tracker
is given up.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core.errors import TuneryError
from core.jobs import lifecycle
from core.tables import Job, Metric, Tracker

LEASE_SECONDS = 120  # longer than any library waits for its server before it says so
# Until the next try, seconds; a tracker that fails as many times in a row, and once more, is given up.
DELAYS = (30, 2 * 60, 10 * 60, 3600, 3 * 3600, 8 * 3600)
POINTS_AT_ONCE = 100  # between two looks, which prolong the lease: MLflow takes a request for each
REPORTABLE = ("running", "succeeded", "failed", "cancelled")


class TrackerLeaseLost(TuneryError):
    """Another process reports by now; this one stops and writes nothing."""


@dataclass(frozen=True)
class TrackerLease:
    """The right to report a job to one tracker."""

    job_id: str
    type: str
    holder: str


@dataclass(frozen=True)
class Look:
    """The job's status, and steps that have not been reported, the oldest first."""

    status: str
    points: list[tuple[int, dict[str, Any]]]


def take(session: Session, holder: str) -> TrackerLease | None:
    """Take a tracker that nobody holds and whose job has something to report."""
    due = (
        select(Tracker)
        .join(Job, Job.id == Tracker.job_id)
        .where(Tracker.ended_at.is_(None), Tracker.held_until <= func.now())
        .where(Job.status.in_(REPORTABLE), Job.deleted_at.is_(None))
        .order_by(Tracker.held_until)
        .limit(1)
        .with_for_update(of=Tracker, skip_locked=True)
    )
    tracker = session.scalars(due).one_or_none()
    if tracker is None:
        return None
    if tracker.holder is not None:
        _count_failure(
            session, tracker, f"the reporting process died, or did not answer for {LEASE_SECONDS} s"
        )
        return None
    tracker.holder, tracker.held_until = holder, _from_now(LEASE_SECONDS)
    return TrackerLease(tracker.job_id, tracker.type, holder)


def reported_step(session: Session, lease: TrackerLease) -> int:
    """Up to where steps have been reported. Raises TrackerLeaseLost."""
    return _held(session, lease).reported_step


def look(session: Session, lease: TrackerLease, reported: int, done: int) -> Look:
    """Prolong the lease, write that steps up to `done` are reported, and read what follows `reported`.

    Raises TrackerLeaseLost. The status is read first: of an ended job, all steps are there by then.
    """
    tracker = _held(session, lease)
    tracker.held_until = _from_now(LEASE_SECONDS)
    if done > tracker.reported_step:
        tracker.reported_step, tracker.failures = done, 0
    status = session.scalars(select(Job.status).where(Job.id == lease.job_id)).one()
    query = select(Metric).where(Metric.job_id == lease.job_id, Metric.step > reported)
    metrics = session.scalars(query.order_by(Metric.step).limit(POINTS_AT_ONCE))
    return Look(status, [(metric.step, metric.data) for metric in metrics])


def give_back(session: Session, lease: TrackerLease) -> None:
    """Let another process go on, now or when the job runs again. Raises TrackerLeaseLost."""
    tracker = _held(session, lease)
    tracker.holder, tracker.held_until = None, func.now()


def end(session: Session, lease: TrackerLease) -> None:
    """All is reported. Raises TrackerLeaseLost."""
    _held(session, lease).ended_at = func.now()


def refuse(session: Session, lease: TrackerLease, reason: str) -> None:
    """Give up at once what no further try could mend. Raises TrackerLeaseLost."""
    _give_up(session, _held(session, lease), reason)


def fail(session: Session, lease: TrackerLease, reason: str) -> None:
    """Try again later, or give up after some failures in a row. Raises TrackerLeaseLost."""
    _count_failure(session, _held(session, lease), reason)


def holding(session: Session, holders: Collection[str]) -> set[str | None]:
    """Those of these holders whose lease has neither ended, nor run out, nor been taken from them."""
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
    tracker.holder, tracker.held_until = None, _from_now(DELAYS[tracker.failures - 1])
    if tracker.failures == 1:
        _warn(session, tracker, f"Reporting to {tracker.type} failed and is tried again: {reason}")


def _give_up(session: Session, tracker: Tracker, reason: str) -> None:
    tracker.ended_at = func.now()
    _warn(session, tracker, f"Reporting to {tracker.type} was given up; training goes on: {reason}")


def _warn(session: Session, tracker: Tracker, message: str) -> None:
    data = {"integration": tracker.type}
    lifecycle.record_outside_event(session, tracker.job_id, message, level="warn", data=data)


def _from_now(seconds: float) -> Any:
    return func.now() + timedelta(seconds=seconds)
