"""The statuses of a job. Unlike `core/tables`, this module does not load SQLAlchemy."""

from typing import Literal, get_args

Status = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
