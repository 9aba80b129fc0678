"""Keeps one trainer process alive, wakes it, and scans for the jobs that any trainer has lost.

The trainer is spawned, not forked (CUDA does not survive a fork), in process groups of its own, so that it
can be killed whole. Its standard input is a line in both ways: by it the trainer is woken, says that it waits
for its surroundings, and learns of this process's death.
"""

import signal
import socket
import subprocess
import threading
import time

import structlog
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.access import idempotency
from core.ids import new_id
from core.jobs import lifecycle, queue
from core.settings import Settings
from core.tables import Worker
from worker.process import stop_times
from worker.process.exit_statuses import DEVICE_BROKEN, HUNG
from worker.supervise.launch import kill_trainer, start_trainer

SHORT_LIFE_SECONDS = 30  # a trainer that dies younger is started again with a growing delay
MAX_RESTART_DELAY = 30
STUCK_SECONDS = 120  # with jobs waiting, none held, and no word why; starting up stays well below
LINE_BYTES = 64 * 1024

log = structlog.get_logger()


class Supervisor:
    """Owns the trainer of a worker's devices. Every method may be called from any thread."""

    def __init__(self, settings: Settings, sessions: sessionmaker[Session]) -> None:
        self._settings = settings
        self._sessions = sessions
        self._process: subprocess.Popen[bytes] | None = None
        self._line: socket.socket | None = None
        self._owner = ""
        self._idle_since: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Tell the trainer that jobs may wait. Losing this costs one scan's time, no more."""
        line = self._line
        if line is None:
            return
        try:
            line.sendall(b"wake\n")
        except OSError:
            log.info("trainer_not_listening", owner=self._owner)

    def stop(self) -> None:
        """Let the trainer write checkpoints and give its jobs back, then kill what is left of its group.

        Jobs that it did not give back in time, or died with, are released: the operator's stop is not theirs.
        """
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(stop_times.SUPERVISOR)
        if self._process is not None:
            kill_trainer(self._process, self._owner)
        self._release()

    def _run(self) -> None:
        delay = 0.0
        while not self._stopping.wait(delay):
            started_at = time.monotonic()
            reason = self._live_once()
            if self._stopping.is_set():
                return
            log.warning("trainer_died", owner=self._owner, reason=reason)
            self._requeue(reason)
            lived = time.monotonic() - started_at
            delay = 0.0 if lived > SHORT_LIFE_SECONDS else min(MAX_RESTART_DELAY, max(0.5, delay * 2))

    def _live_once(self) -> str:
        """Start a trainer and watch it to its end. Returns how it died, and raises nothing."""
        self._process = None
        try:
            self._spawn()
            if self._stopping.is_set() and self._process is not None:
                self._process.terminate()  # the order to stop came while it was being spawned
            return self._watch()
        except Exception as error:
            log.error("supervision_failed", owner=self._owner, exc_info=error)
            if self._process is not None:
                kill_trainer(self._process, self._owner)
            return f"The trainer could not be started or watched ({type(error).__name__})"

    def _spawn(self) -> None:
        self._owner = f"{socket.gethostname()}:{new_id('')}"
        self._idle_since = None
        if self._line is not None:
            self._line.close()
        self._line, its_end = socket.socketpair()
        self._line.setblocking(False)
        with its_end:
            self._process = start_trainer(self._settings, self._owner, its_end)

    def _watch(self) -> str:
        """Scan until the trainer ends. Returns how it died."""
        process = self._process
        assert process is not None
        while True:
            try:
                code = process.wait(self._settings.scan_seconds)
            except subprocess.TimeoutExpired:
                self._scan(process)
                continue
            kill_trainer(process, self._owner)
            return name_death(code)

    def _scan(self, process: subprocess.Popen[bytes]) -> None:
        try:
            with self._sessions.begin() as session:
                lost = lifecycle.lose_expired_runs(session, self._settings.max_lost_attempts)
                waiting = self._jobs_wait(session)
                busy = lifecycle.holds_a_run(session, self._owner)
                idempotency.forget_old_records(session)
        except SQLAlchemyError as error:
            log.warning("scan_failed", error=str(error))
            return
        if lost:
            log.warning("leases_ran_out", jobs=lost)
        if not waiting or busy or self._says_that_it_waits():
            self._idle_since = None
            return
        self._idle_since = self._idle_since or time.monotonic()
        if time.monotonic() - self._idle_since > STUCK_SECONDS:
            log.error("trainer_stuck", owner=self._owner)
            kill_trainer(process, self._owner)
        else:
            self.wake()

    def _jobs_wait(self, session: Session) -> bool:
        """Whether there are some that this trainer could claim."""
        settings = self._settings
        return settings.claims_jobs and queue.jobs_wait(session, settings.project_jobs, settings.devices)

    def _says_that_it_waits(self) -> bool:
        """Whether the trainer has said so since the last time: it is not stuck, its surroundings are away."""
        assert self._line is not None
        try:
            return bool(self._line.recv(LINE_BYTES))
        except OSError:  # nothing there, or nobody
            return False

    def _requeue(self, reason: str) -> None:
        """Give the dead trainer's jobs back at once, instead of when their leases run out."""
        try:
            with self._sessions.begin() as session:
                lifecycle.lose_runs_of(session, self._owner, reason, self._settings.max_lost_attempts)
                self._take_off_the_list(session)
        except SQLAlchemyError as error:
            log.warning("requeue_failed", error=str(error))

    def _release(self) -> None:
        try:
            with self._sessions.begin() as session:
                released = lifecycle.release_runs_of(session, self._owner, "The worker was stopped")
                self._take_off_the_list(session)
        except SQLAlchemyError as error:
            log.warning("release_failed", error=str(error))
            return
        if released:
            log.warning("trainer_stopped_late", owner=self._owner, jobs=released)

    def _take_off_the_list(self, session: Session) -> None:
        """The trainer is gone: nobody has to wait until its row expires."""
        session.execute(delete(Worker).where(Worker.owner == self._owner))


def name_death(code: int) -> str:
    """A sentence for a process's exit status, as `Popen.returncode` tells it."""
    if code == -signal.SIGKILL:
        return "The trainer was killed (SIGKILL): by hand, or by the system for want of memory"
    if code == DEVICE_BROKEN:
        return "The trainer's device failed"
    if code == HUNG:
        return "The trainer hung while it computed"
    if code < 0:
        return f"The trainer died of {signal.Signals(-code).name}"
    return f"The trainer ended with status {code}"
