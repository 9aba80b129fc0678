"""Runs processes that each hold something in the database, and kills those that hang."""

import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

import structlog
from sqlalchemy.orm import Session, sessionmaker

from core.ids import new_id
from worker.process.periodic import Periodic, attempt

POLL_SECONDS = 1.0
STOP_SECONDS = 20.0  # the time in which a process can finish what it is doing
LEAVE_SECONDS = 10.0  # the time in which a process without a lease can end

log = structlog.get_logger()

LeaseT = TypeVar("LeaseT")


class HeldProcesses(Periodic, ABC, Generic[LeaseT]):
    """A thread that takes the waiting rows of a table one by one, and starts a process for each.

    A holder is the name of one process in the database. A process whose lease has ended must end itself. If
    it does not, it is killed, which only the worker that started it can do.
    """

    def __init__(
        self,
        name: str,
        sessions: sessionmaker[Session],
        most: int,
        leave_seconds: float = LEAVE_SECONDS,
    ) -> None:
        """Run at most `most` processes at once. `name` is that of the thread, and begins holders' names.

        A process without a lease is killed after `leave_seconds`.
        """
        super().__init__(name, POLL_SECONDS, self._start_and_kill)
        self._holders = f"{name}-"
        self._sessions = sessions
        self._most = most
        self._leave_seconds = leave_seconds
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._leaving: dict[str, float] = {}  # holders without a lease, and when their processes are killed

    @abstractmethod
    def _take(self, session: Session, holder: str) -> LeaseT | None:
        """Take what waits next. Return None if nothing waits."""

    @abstractmethod
    def _holding(self, session: Session, holders: Collection[str]) -> set[str | None]:
        """Return those of `holders` whose lease has not ended."""

    @abstractmethod
    def _command(self, lease: LeaseT) -> Sequence[str]:
        """Return the command that starts the process for a lease."""

    @abstractmethod
    def _environment(self) -> Mapping[str, str]:
        """Return the environment of the processes."""

    def _ended(self, session: Session, holder: str, status: int, stopped: bool) -> None:
        """Free what a process that has ended with `status` still holds. By default, its lease runs out.

        `stopped` says that this worker has ended it, because the worker itself stops.
        """

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

    def _start_and_kill(self) -> None:
        self._free_ended(stopped=False)
        if self._processes:
            self._kill_hanging()
        while len(self._processes) < self._most:
            holder = new_id(self._holders)
            with self._sessions.begin() as session:
                lease = self._take(session, holder)
            if lease is None:
                return
            self._processes[holder] = self._start(lease)

    def _free_ended(self, stopped: bool) -> None:
        statuses = {holder: process.poll() for holder, process in self._processes.items()}
        for holder, status in statuses.items():
            if status is None:
                continue
            with self._sessions.begin() as session:
                self._ended(session, holder, status, stopped)
            del self._processes[holder]

    def _kill_hanging(self) -> None:
        """Kill this worker's processes that have no lease and do not end."""
        with self._sessions() as session:
            holding = self._holding(session, self._processes)
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

    def _start(self, lease: LeaseT) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command(lease),
            stdin=subprocess.PIPE,  # its end tells the process that the worker has ended
            stdout=subprocess.DEVNULL,
            env=self._environment(),
        )
