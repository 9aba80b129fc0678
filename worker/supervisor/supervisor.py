"""Keeps one trainer process alive, wakes it, and scans for jobs that any trainer has lost.

The trainer is a new program, not a fork, because CUDA does not survive a fork. It runs in process groups of
the operating system that are its own, so that it can be killed as a whole. Its standard input is a socket to
the supervisor: the channel. The channel has three uses: the supervisor wakes the trainer, the trainer says
that it leaves jobs in the queue on purpose, and the trainer notices when the supervisor has died.
"""

import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from sqlalchemy import delete
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.jobs import lifecycle, queue
from core.monitoring import declared
from core.process.failpoints import reached
from core.settings import Settings
from core.tables import Worker
from worker.process import stop_times
from worker.process.recorder import recorder
from worker.process.turns import has_a_turn
from worker.supervisor.launch import kill_trainer, start_trainer
from worker.supervisor.losses import Death, Reason, describe_exit
from worker.supervisor.memory import processes_ended_for_memory
from worker.supervisor.metrics_page import empty

SHORT_LIFE_SECONDS = 30  # after a trainer that ended sooner, the delay before the next start grows
MAX_RESTART_DELAY = 30  # seconds
STUCK_SECONDS = 120  # much more than the start of a trainer takes
READ_BYTES = 64 * 1024

log = structlog.get_logger()

StartTrainer = Callable[[Settings, str, socket.socket], "subprocess.Popen[bytes]"]


class Supervisor:
    """Runs the trainer of a worker's devices. Every method may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        sessions: sessionmaker[Session],
        start: StartTrainer = start_trainer,
        stuck_seconds: float = STUCK_SECONDS,
        stop_seconds: float = stop_times.SUPERVISOR,
        metrics: Path | None = None,
    ) -> None:
        """`start` starts a trainer, which has `stop_seconds` to stop, and is killed if it is stuck.

        It is stuck if it holds no job for `stuck_seconds` while jobs wait, unless it says that it waits. The
        files of the folder `metrics` are removed when it has ended.
        """
        self._settings = settings
        self._sessions = sessions
        self._start, self._stuck_seconds, self._stop_seconds = start, stuck_seconds, stop_seconds
        self._metrics = metrics
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._owner = ""
        self._idle_since: float | None = None
        self._no_blame_until = 0.0  # by time.monotonic(): the database was away shortly before
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Tell the trainer that jobs may be waiting. If the message is lost, the next scan sends another."""
        channel = self._channel
        if channel is None:
            return
        try:
            channel.sendall(b"wake\n")
        except OSError:
            log.info("trainer_not_listening", owner=self._owner)

    def has_work(self, session: Session) -> bool:
        """Return whether the trainer holds a job, or jobs wait that it could claim."""
        return lifecycle.holds_a_claim(session, self._owner) or self._jobs_wait(session)

    def stop(self) -> None:
        """Let the trainer save checkpoints and give its jobs back, and then kill its remaining processes.

        Jobs that it did not give back before it died or was killed are released. This does not count as a
        lost claim of these jobs, because the operator stopped the worker.
        """
        self._stopping.set()
        process = self._process
        if process is not None and process.poll() is None:
            process.terminate()
        self._thread.join(self._stop_seconds)
        if self._process is not None:
            kill_trainer(self._process, self._owner)
        self._release()

    def _run(self) -> None:
        delay = 0.0
        while not self._stopping.wait(delay):
            started_at = time.monotonic()
            death = self._run_trainer_once()
            if self._stopping.is_set():
                return
            log.warning("trainer_died", owner=self._owner, reason=death.sentence)
            reached("trainer.died")
            self._requeue(death)
            lived = time.monotonic() - started_at
            delay = 0.0 if lived > SHORT_LIFE_SECONDS else min(MAX_RESTART_DELAY, max(0.5, delay * 2))

    def _run_trainer_once(self) -> Death:
        """Start a trainer, watch it until it ends, and return why it ended. Raises nothing."""
        self._process = None
        try:
            self._start_trainer()
            if self._stopping.is_set() and self._process is not None:
                self._process.terminate()  # `stop` was called while the trainer was being started
            return self._watch()
        except Exception as error:
            log.error("supervision_failed", owner=self._owner, exc_info=error)
            if self._process is not None:
                kill_trainer(self._process, self._owner)
            return Death(
                f"The trainer could not be started or watched ({type(error).__name__})", "not_started"
            )
        finally:
            if self._metrics is not None:
                empty(self._metrics)

    def _start_trainer(self) -> None:
        self._owner = lifecycle.new_owner()
        self._idle_since = None
        if self._channel is not None:
            self._channel.close()
        self._channel, trainer_end = socket.socketpair()
        self._channel.setblocking(False)
        with trainer_end:
            self._process = self._start(self._settings, self._owner, trainer_end)
        recorder.count(declared.TRAINER_STARTS)

    def _watch(self) -> Death:
        """Scan periodically until the trainer ends, and return why it ended."""
        process = self._process
        assert process is not None
        ended_before = ended_since = processes_ended_for_memory()
        while True:
            try:
                code = process.wait(self._settings.scan_seconds)
            except subprocess.TimeoutExpired:
                self._scan(process)
                # The system counts a process when it kills it, which may end after the next count
                ended_before, ended_since = ended_since, processes_ended_for_memory()
                continue
            kill_trainer(process, self._owner)
            return describe_exit(code, memory_ran_out=processes_ended_for_memory() > ended_before)

    def _scan(self, process: subprocess.Popen[bytes]) -> None:
        """Look for lost leases, and wake the trainer if jobs wait. Kill the trainer if it is stuck."""
        try:
            with self._sessions.begin() as session:
                reason, lost = self._requeue_expired(session)
                waiting = self._jobs_wait(session)
                busy = lifecycle.holds_a_claim(session, self._owner)
                if lost:
                    reached("leases.lost")
        except SQLAlchemyError as error:
            log.warning("scan_failed", error=str(error))
            self._no_blame_until = time.monotonic() + self._settings.lease_seconds
            return
        if lost:
            recorder.count(declared.LEASE_LOSSES, len(lost), reason=reason)
            log.warning("leases_ran_out", jobs=lost)
        if not waiting or busy or self._trainer_says_that_it_waits():
            self._idle_since = None
            return
        self._idle_since = self._idle_since or time.monotonic()
        if time.monotonic() - self._idle_since > self._stuck_seconds:
            log.error("trainer_stuck", owner=self._owner)
            kill_trainer(process, self._owner)
        else:
            self.wake()

    def _requeue_expired(self, session: Session) -> tuple[Reason, list[str]]:
        """Requeue the jobs whose leases have ended, if it is this worker's turn. Return why and which.

        It reads all open claims, so of many workers only some do it in each period. No trainer is to blame if
        the database was away.
        """
        if not has_a_turn(session):
            return "lease_ran_out", []
        if time.monotonic() < self._no_blame_until:
            sentence = "The database did not answer for a while"
            return "database_away", lifecycle.release_expired_claims(session, sentence)
        return "lease_ran_out", lifecycle.lose_expired_claims(session, self._settings.max_lost_attempts)

    def _jobs_wait(self, session: Session) -> bool:
        """Return whether jobs wait that this trainer could claim."""
        settings = self._settings
        return settings.claims_jobs and queue.jobs_wait(session, settings.project_jobs, settings.devices)

    def _trainer_says_that_it_waits(self) -> bool:
        """Return whether the trainer has said since the last call that it waits on purpose.

        Then the store or the disk fails, this release cannot train the jobs, or the trainer loads a base for
        a chat.
        """
        assert self._channel is not None
        try:
            return bool(self._channel.recv(READ_BYTES))
        except OSError:  # no message, or no trainer
            return False

    def _requeue(self, death: Death) -> None:
        """Put the dead trainer's jobs back into the queue at once, before their leases run out."""
        try:
            with self._sessions.begin() as session:
                most = self._settings.max_lost_attempts
                lost = lifecycle.lose_claims_of(session, self._owner, death.sentence, most, death.code)
                self._remove_worker(session)
        except SQLAlchemyError as error:
            log.warning("requeue_failed", error=str(error))
            return
        recorder.count(declared.LEASE_LOSSES, len(lost), reason=death.reason)

    def _release(self) -> None:
        """Put jobs of the stopped trainer back into the queue, without counting a lost claim."""
        try:
            with self._sessions.begin() as session:
                released = lifecycle.release_claims_of(session, self._owner, "The worker was stopped")
                self._remove_worker(session)
        except SQLAlchemyError as error:
            log.warning("release_failed", error=str(error))
            return
        if released:
            log.warning("trainer_stopped_late", owner=self._owner, jobs=released)

    def _remove_worker(self, session: Session) -> None:
        """Delete the trainer's row at once, so that it is not listed until the row expires."""
        session.execute(delete(Worker).where(Worker.owner == self._owner))
