"""Starts a process for each task that waits, and kills a process that hangs."""

import os
import sys
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy.orm import Session, sessionmaker

from core.settings import Settings
from core.work import lease as leases
from core.work.kinds import KINDS, TaskClass
from core.work.lease import TaskLease
from worker.process.exit_statuses import TRY_AGAIN
from worker.process.held_processes import HeldProcesses

FOLLOWING = 16  # processes, each of about 100 MB
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
        """Return a thread for each class of tasks, with the processes that it may run at once."""
        processes: dict[TaskClass, int] = {
            "computing": settings.task_processes,
            "asking": settings.eval_processes,
            "measuring": min(1, settings.task_processes),
            "following": FOLLOWING,
        }
        return [
            cls(sessions, most, [kind.name for kind in KINDS.values() if kind.task_class == task_class])
            for task_class, most in processes.items()
        ]

    def _take(self, session: Session, holder: str) -> TaskLease | None:
        return leases.take(session, holder, self._kinds)

    def _holding(self, session: Session, holders: Collection[str]) -> set[str | None]:
        return leases.holding(session, holders)

    def _ended(self, session: Session, holder: str, status: int, stopped: bool) -> None:
        leases.free(session, holder, counts=not stopped and status not in (0, TRY_AGAIN))

    def _command(self, lease: TaskLease) -> Sequence[str]:
        return sys.executable, "-m", lease.kind.program, lease.task_id, str(lease.fence), lease.holder

    def _environment(self) -> Mapping[str, str]:
        return dict(os.environ) | ENVIRONMENT
