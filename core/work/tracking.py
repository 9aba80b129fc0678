"""Tracking: a job's steps are reported to an experiment tracker for as long as the job lives."""

from typing import Literal

from pydantic import BaseModel
from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from core.jobs import lifecycle
from core.tables import Job, Task

# Seconds until the next try, after each failure in a row. After one failure more, the tracker is given up.
DELAYS = (30.0, 2 * 60.0, 10 * 60.0, 3600.0, 3 * 3600.0, 8 * 3600.0)
REPORTABLE = ("running", "succeeded", "failed", "cancelled")  # statuses of jobs


class TrackingRequest(BaseModel):
    """The tracker to report to. Its settings are the entry of this type in `Job.integrations`."""

    type: Literal["wandb", "mlflow", "tensorboard"]


class TrackingReport(BaseModel):
    """How far a job is reported."""

    reported_step: int = 0


def has_a_job_to_report() -> ColumnElement[bool]:
    """Return the condition that the job of a row of Task may have something to report."""
    reportable = Job.status.in_(REPORTABLE), Job.deleted_at.is_(None)
    return select(Job.id).where(Job.id == Task.job_id, *reportable).exists()


def warn(session: Session, task: Task, reason: str, over: bool) -> None:
    """Tell the job's client of a failure: the first in a row, or the one that was the last."""
    if task.job_id is None or not (over or task.losses == 1):
        return
    tracker = task.request["type"]
    what = "was given up; training goes on" if over else "failed and is tried again"
    message, data = f"Reporting to {tracker} {what}: {reason}", {"integration": tracker}
    lifecycle.record_outside_event(session, task.job_id, message, level="warn", data=data)
