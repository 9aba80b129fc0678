"""Starts a process for each task that waits, and kills a process that hangs.

Tasks that ask servers may take many hours, but little of the machine. Measurements take minutes, and a job
may start one that nobody waits for. So neither ever takes the place of an export.
"""

import os
import sys
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.orm import Session, sessionmaker

from core.settings import Settings
from core.work import lease as leases
from core.work.lease import TaskLease
from worker.process.exit_statuses import TRY_AGAIN
from worker.process.held_processes import HeldProcesses

# The package that does a kind of task
PROGRAMS = {
    "check": "worker.tasks.datasets",
    "composition": "worker.tasks.composition",
    "conversion": "worker.tasks.datasets",
    "evalrun": "worker.tasks.evaluation",
    "export": "worker.tasks.export",
    "portability": "worker.tasks.portability",
}
ASKING = ("evalrun",)  # kinds that mostly wait for servers
MEASURING = ("portability",)  # kinds that a job starts without being asked
ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",  # the devices belong to the trainer
    "GOMP_SPINCOUNT": "1000",  # as in the trainer: threads that spin take its cores
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


class Tasks(HeldProcesses[TaskLease]):
    """A thread of the supervising process that runs the processes that do tasks of some kinds."""

    def __init__(self, sessions: sessionmaker[Session], most: int, kinds: Collection[str]) -> None:
        super().__init__("task", sessions, most)
        self._kinds = kinds

    @classmethod
    def of(cls, settings: Settings, sessions: sessionmaker[Session]) -> "list[Tasks]":
        """Return threads: for the kinds that compute, for those that ask servers, and for measurements."""
        computing = [kind for kind in PROGRAMS if kind not in (*ASKING, *MEASURING)]
        return [
            cls(sessions, settings.task_processes, computing),
            cls(sessions, settings.eval_processes, ASKING),
            cls(sessions, min(1, settings.task_processes), MEASURING),
        ]

    def _take(self, session: Session, holder: str) -> TaskLease | None:
        return leases.take(session, holder, self._kinds)

    def _holding(self, session: Session, holders: Collection[str]) -> set[str | None]:
        return leases.holding(session, holders)

    def _ended(self, session: Session, holder: str, status: int, stopped: bool) -> None:
        leases.free(session, holder, counts=not stopped and status not in (0, TRY_AGAIN))

    def _command(self, lease: TaskLease) -> Sequence[str]:
        program = PROGRAMS[lease.kind]
        return sys.executable, "-m", program, lease.task_id, str(lease.fence), lease.holder

    def _environment(self) -> Mapping[str, str]:
        return dict(os.environ) | ENVIRONMENT
