"""Starts a process for each task that waits, and kills a process that hangs."""

import os
import subprocess
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import suppress

import structlog
from sqlalchemy.orm import Session, sessionmaker

from core.ids import new_id
from core.jobs import lifecycle
from core.monitoring import declared
from core.settings import Settings
from core.work import lease as leases
from core.work.kinds import KINDS, TaskClass, names_in
from core.work.lease import TaskLease
from worker.process.exit_statuses import TRY_AGAIN
from worker.process.periodic import Periodic, attempt
from worker.process.priority import put_behind
from worker.process.recorder import recorder
from worker.tasks.frame.waiting import WaitingTasks

POLL_SECONDS = 1.0
MOST_SKIPPED = 3  # looks, while tasks may not be taken yet, as behind another one of their project
STOP_SECONDS = 20.0  # the time in which a process can finish what it is doing
LEAVE_SECONDS = 10.0  # the time in which a process without a lease can end
FOLLOWING = 16  # processes, each of about 100 MB
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",  # the devices belong to the trainer
    "GOMP_SPINCOUNT": "1000",  # as in the trainer: threads that spin take its cores
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}
BESIDE_TRAINING = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}  # threads that compute
NICENESS = 19  # a core that training wants too is divided 68 : 1
NICENESS_OF_TIMED = 10  # 9 : 1, for processes whose requests, graders and libraries have limits of time
TIMED: tuple[TaskClass, ...] = ("asking", "following", "awaited")
FIRST_TO_BE_KILLED = 1000  # before a trainer and all others

log = structlog.get_logger()


class Tasks(Periodic):
    """A thread of the supervising process that runs the processes that do tasks of some kinds.

    It takes the waiting tasks one by one. A holder is the name of one process in the database. A process
    whose lease has ended must end itself. If it does not, it is killed, which only the worker that started it
    can do.
    """

    def __init__(
        self,
        sessions: sessionmaker[Session],
        most: int,
        kinds: Collection[str],
        leave_seconds: float = LEAVE_SECONDS,
        niceness: int = NICENESS,
        waiting: WaitingTasks | None = None,
    ) -> None:
        """Run at most `most` processes at once. One without a lease is killed after `leave_seconds`.

        The threads of a worker share what is `waiting`.
        """
        super().__init__("task", POLL_SECONDS, self.look)
        self._sessions = sessions
        self._most = most
        self._leave_seconds = leave_seconds
        self._kinds = kinds
        self._waiting = waiting or WaitingTasks(sessions)
        self._niceness = niceness
        self._refusals = self._looks_to_skip = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._begun: dict[str, tuple[str, float]] = {}  # the kind of each process's task, and its start
        self._leaving: dict[str, float] = {}  # holders without a lease, and when their processes are killed

    @classmethod
    def of(cls, settings: Settings, sessions: sessionmaker[Session]) -> "list[Tasks]":
        """Return a thread for each class of tasks, with the processes that it may run at once."""
        processes: dict[TaskClass, int] = {
            "computing": settings.task_processes,
            "reading": settings.task_processes,
            "asking": settings.eval_processes,
            "measuring": min(1, settings.task_processes),
            "following": FOLLOWING,
            "awaited": min(1, settings.task_processes),
        }
        waiting = WaitingTasks(sessions)
        return [
            cls(
                sessions,
                most,
                names_in(task_class),
                waiting=waiting,
                niceness=NICENESS_OF_TIMED if task_class in TIMED else NICENESS,
            )
            for task_class, most in processes.items()
        ]

    @property
    def has_work(self) -> bool:
        """Whether a process does a task here, or a task waits that one may do.

        Tasks that follow a job are left out: they follow pauses too. Raises SQLAlchemyError.
        """
        kinds = [kind for kind in self._kinds if KINDS[kind].task_class != "following"]
        if any(kind in kinds for kind, _ in tuple(self._begun.values())):
            return True
        return self._most > 0 and self._waiting.any_of(kinds)

    def stop(self) -> None:
        """Let the processes finish what they are doing, and then kill the rest."""
        super().stop()
        self.join()
        attempt(self._name, lambda: self._free_ended(stopped=False))  # the database may be away
        for process in self._processes.values():
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self._processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))
            process.kill()
            process.wait()
        attempt(self._name, lambda: self._free_ended(stopped=True))

    def look(self) -> None:
        """Take the tasks that wait and start their processes, and end processes that hang."""
        self._free_ended(stopped=False)
        if self._processes:
            self._kill_hanging()
        if self._looks_to_skip:
            self._looks_to_skip -= 1
            return
        while len(self._processes) < self._most and self._waiting.any_of(self._kinds):
            holder = new_id("task-")
            with self._sessions.begin() as session:
                beside_training = lifecycle.trains_here(session)
                lease = leases.take(session, holder, self._kinds, beside_training=beside_training)
            if lease is None:
                self._looks_to_skip = min(MOST_SKIPPED, 2**self._refusals - 1)
                self._refusals += 1
                return
            self._refusals = 0
            limits = BESIDE_TRAINING if beside_training else {}
            self._processes[holder] = self._start(lease, ENVIRONMENT | limits)
            self._begun[holder] = lease.kind.name, time.monotonic()

    def _free_ended(self, stopped: bool) -> None:
        """Free the tasks of processes that have ended: of their own, or `stopped` by this worker."""
        statuses = {holder: process.poll() for holder, process in self._processes.items()}
        for holder, status in statuses.items():
            if status is None:
                continue
            with self._sessions.begin() as session:
                leases.free(session, holder, counts=not stopped and status not in (0, TRY_AGAIN))
            del self._processes[holder]
            self._record(holder, status)

    def _record(self, holder: str, status: int) -> None:
        """Record for Prometheus how long the process has lived, and how it has ended."""
        kind, began = self._begun.pop(holder)
        outcome = {0: "done", TRY_AGAIN: "gave_back"}.get(status, "died")
        recorder.observe(declared.TASK_SECONDS, time.monotonic() - began, kind=kind, outcome=outcome)

    def _kill_hanging(self) -> None:
        """Kill this worker's processes that have no lease and do not end."""
        with self._sessions() as session:
            holding = leases.holding(session, self._processes)
        now = time.monotonic()
        self._leaving = {
            holder: self._leaving.get(holder, now + self._leave_seconds)
            for holder in self._processes
            if holder not in holding
        }
        for holder, deadline in self._leaving.items():
            if now > deadline:
                log.warning("process_hangs", holder=holder)
                self._processes[holder].kill()

    def _start(self, lease: TaskLease, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            command_for(lease),
            stdin=subprocess.PIPE,  # its end tells the process that the worker has ended
            stdout=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        put_behind(process.pid, self._niceness, FIRST_TO_BE_KILLED)
        return process


def command_for(lease: TaskLease) -> list[str]:
    """Return the command of the process that does a task under this lease."""
    return [sys.executable, "-m", lease.kind.program, lease.task_id, str(lease.fence), lease.holder]
