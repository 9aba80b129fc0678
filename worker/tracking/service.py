"""Starts a process for each tracker that has something to report, and ends one that hangs."""

import os
import subprocess
import sys
import time
from contextlib import suppress

import structlog
from sqlalchemy.orm import Session, sessionmaker

from core.ids import new_id
from worker.process.periodic import Periodic
from worker.tracking import lease as leases
from worker.tracking.lease import TrackerLease

LOOK_SECONDS = 1.0
STOP_SECONDS = 20.0  # to finish what is being sent
LEAVE_SECONDS = 10.0  # for a process that holds nothing any more to end by itself; less than the first delay
MAX_PROCESSES = 16  # some 100 MB each
# The worker's own credentials are not its clients': a job reports with its project's secrets or not at all.
OWN_CREDENTIALS = (
    "HF_TOKEN",
    "NETRC",
    "WANDB_API_KEY",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)
# Nobody is told that these libraries are used here, and none waits longer than a lease lasts.
LIBRARY_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "WANDB_ERROR_REPORTING": "false",
}

log = structlog.get_logger()


class Tracking(Periodic):
    """A thread of the worker's supervising process."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        super().__init__("tracking", LOOK_SECONDS, self._look)
        self._sessions = sessions
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._leaving: dict[str, float] = {}  # those that hold nothing, and until when they may live

    def stop(self) -> None:
        """Let the processes finish what they send, then kill them."""
        super().stop()
        self.join()
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))
            process.kill()
            process.wait()

    def _look(self) -> None:
        self._processes = {
            holder: process for holder, process in self._processes.items() if process.poll() is None
        }
        if self._processes:
            self._kill_what_does_not_leave()
        while len(self._processes) < MAX_PROCESSES:
            holder = new_id("tracker-")
            with self._sessions.begin() as session:
                lease = leases.take(session, holder)
            if lease is None:
                return
            self._processes[holder] = self._start(lease)

    def _kill_what_does_not_leave(self) -> None:
        """A process that hangs loses its lease, whichever worker notices, and is its own worker's to kill."""
        with self._sessions() as session:
            holding = leases.holding(session, self._processes)
        now = time.monotonic()
        self._leaving = {
            holder: self._leaving.get(holder, now + LEAVE_SECONDS)
            for holder in self._processes
            if holder not in holding
        }
        for holder, deadline in self._leaving.items():
            if now > deadline:
                log.warning("tracker_hangs", holder=holder)
                self._processes[holder].kill()

    def _start(self, lease: TrackerLease) -> subprocess.Popen[bytes]:
        environment = {name: value for name, value in os.environ.items() if name not in OWN_CREDENTIALS}
        return subprocess.Popen(
            [sys.executable, "-m", "worker.tracking", lease.job_id, lease.type, lease.holder],
            stdin=subprocess.PIPE,  # its end tells the process that we are gone
            stdout=subprocess.DEVNULL,
            env=LIBRARY_ENVIRONMENT | environment,
        )
