"""The statuses of a job, in a module without SQLAlchemy, which `core/tables` loads."""

from typing import Literal, get_args

Status = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]
STATUSES: tuple[Status, ...] = get_args(Status)
ENDED: tuple[Status, ...] = ("succeeded", "failed", "cancelled")
