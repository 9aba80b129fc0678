"""Starts a process for each tracker that has something to report, and kills a process that hangs."""

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

POLL_SECONDS = 1.0
STOP_SECONDS = 20.0  # the time in which a process can finish what it is sending
LEAVE_SECONDS = 10.0  # the time in which a process without a lease can end; less than the first delay
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

log = structlog.get_logger()


class Tracking(Periodic):
    """A thread of the supervising process that runs the processes that report to trackers."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        super().__init__("tracking", POLL_SECONDS, self._start_and_kill)
        self._sessions = sessions
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._leaving: dict[str, float] = {}  # holders without a lease, and when their processes are killed

    def stop(self) -> None:
        """Let the processes finish what they are sending, and then kill the rest."""
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

    def _start_and_kill(self) -> None:
        self._processes = {
            holder: process for holder, process in self._processes.items() if process.poll() is None
        }
        if self._processes:
            self._kill_hanging()
        while len(self._processes) < MAX_PROCESSES:
            holder = new_id("tracker-")
            with self._sessions.begin() as session:
                lease = leases.take(session, holder)
            if lease is None:
                return
            self._processes[holder] = self._start(lease)

    def _kill_hanging(self) -> None:
        """Kill this worker's processes that have no lease and do not end.

        Any worker may notice that a lease has run out, but only the worker that started the process can kill
        it.
        """
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
            stdin=subprocess.PIPE,  # its end tells the process that the worker has ended
            stdout=subprocess.DEVNULL,
            env=LIBRARY_ENVIRONMENT | environment,
        )
