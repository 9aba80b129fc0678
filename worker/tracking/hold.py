"""Who reports a job to a tracker, and how far: rows of `Tracker`, which one process holds at a time.

A process that ends gives its hold back; one that is killed, or hangs, lets it run out, and the next one that
takes the tracker counts that as a failure. After some in a row without progress, over half a day, the tracker
is given up.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from core import lifecycle
from core.errors import TuneryError
from core.models import Job, Metric, Tracker

HOLD_SECONDS = 120  # longer than any library waits for its server before it says so
# Until the next try, seconds; a tracker that fails as many times in a row, and once more, is given up.
DELAYS = (30, 2 * 60, 10 * 60, 3600, 3 * 3600, 8 * 3600)
POINTS_AT_ONCE = 100  # between two looks, which prolong the hold: MLflow takes a request for each
REPORTABLE = ("running", "succeeded", "failed", "cancelled")


class HoldLost(TuneryError):
    """Another process reports by now; this one stops and writes nothing."""


@dataclass(frozen=True)
class Hold:
    """The right to report a job to one tracker."""

    job_id: str
    type: str
    holder: str


@dataclass(frozen=True)
class Look:
    """The job's status, and steps that have not been reported, the oldest first."""

    status: str
    points: list[tuple[int, dict[str, Any]]]


def take(session: Session, holder: str) -> Hold | None:
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
            session, tracker, f"the reporting process died, or did not answer for {HOLD_SECONDS} s"
        )
        return None
    tracker.holder, tracker.held_until = holder, _from_now(HOLD_SECONDS)
    return Hold(tracker.job_id, tracker.type, holder)


def reported_step(session: Session, hold: Hold) -> int:
    """Up to where steps have been reported. Raises HoldLost."""
    return _held(session, hold).reported_step


def look(session: Session, hold: Hold, reported: int, done: int) -> Look:
    """Prolong the hold, write that steps up to `done` are reported, and read what follows `reported`.

    Raises HoldLost. The status is read first: of an ended job, all steps are there by then.
    """
    tracker = _held(session, hold)
    tracker.held_until = _from_now(HOLD_SECONDS)
    if done > tracker.reported_step:
        tracker.reported_step, tracker.failures = done, 0
    status = session.scalars(select(Job.status).where(Job.id == hold.job_id)).one()
    query = select(Metric).where(Metric.job_id == hold.job_id, Metric.step > reported)
    metrics = session.scalars(query.order_by(Metric.step).limit(POINTS_AT_ONCE))
    return Look(status, [(metric.step, metric.data) for metric in metrics])


def give_back(session: Session, hold: Hold) -> None:
    """Let another process go on, now or when the job runs again. Raises HoldLost."""
    tracker = _held(session, hold)
    tracker.holder, tracker.held_until = None, func.now()


def end(session: Session, hold: Hold) -> None:
    """All is reported. Raises HoldLost."""
    _held(session, hold).ended_at = func.now()


def refuse(session: Session, hold: Hold, reason: str) -> None:
    """Give up at once what no further try could mend. Raises HoldLost."""
    _give_up(session, _held(session, hold), reason)


def fail(session: Session, hold: Hold, reason: str) -> None:
    """Try again later, or give up after some failures in a row. Raises HoldLost."""
    _count_failure(session, _held(session, hold), reason)


def holding(session: Session, holders: Collection[str]) -> set[str | None]:
    """Those of these holders whose hold has neither ended, nor run out, nor been taken from them."""
    query = select(Tracker.holder).where(
        Tracker.holder.in_(holders), Tracker.ended_at.is_(None), Tracker.held_until > func.now()
    )
    return set(session.scalars(query))


def _held(session: Session, hold: Hold) -> Tracker:
    tracker = session.get(Tracker, (hold.job_id, hold.type), with_for_update=True, populate_existing=True)
    if tracker is None or tracker.holder != hold.holder or tracker.ended_at is not None:
        raise HoldLost(f"{hold.job_id}: another process reports to {hold.type} by now")
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
