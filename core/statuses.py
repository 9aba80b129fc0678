"""A job's statuses, for those that need no table: core/models loads SQLAlchemy."""

from typing import Literal, get_args

Status = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
