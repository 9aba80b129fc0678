"""Starts a process for each tracker that has something to report, and kills a process that hangs."""

import os
import sys
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.orm import Session, sessionmaker

from worker.process.held_processes import HeldProcesses
from worker.tasks.tracking import lease as leases
from worker.tasks.tracking.lease import TrackerLease

MAX_PROCESSES = 16  # each takes about 100 MB
# A job reports with the secrets of its project, never with the worker's own credentials.
OWN_CREDENTIALS = (
    "HF_TOKEN",
    "NETRC",
    "WANDB_API_KEY",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)
# The libraries send no telemetry, and no library waits for its server longer than a lease lasts.
LIBRARY_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "WANDB_ERROR_REPORTING": "false",
}


class Tracking(HeldProcesses[TrackerLease]):
    """A thread of the supervising process that runs the processes that report to trackers."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        super().__init__("tracker", sessions, MAX_PROCESSES)

    def _take(self, session: Session, holder: str) -> TrackerLease | None:
        return leases.take(session, holder)

    def _holding(self, session: Session, holders: Collection[str]) -> set[str | None]:
        return leases.holding(session, holders)

    def _command(self, lease: TrackerLease) -> Sequence[str]:
        return sys.executable, "-m", "worker.tasks.tracking", lease.job_id, lease.type, lease.holder

    def _environment(self) -> Mapping[str, str]:
        own = {name: value for name, value in os.environ.items() if name not in OWN_CREDENTIALS}
        return LIBRARY_ENVIRONMENT | own
