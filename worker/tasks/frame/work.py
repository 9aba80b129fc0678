"""The task as the function that does it sees it, and the errors by which it asks for a later try."""

import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sqlalchemy.orm import Session, sessionmaker

from core.access.quotas import Quotas, check_store
from core.errors import JobError, QuotaExceeded, TuneryError
from core.ids import new_id
from core.jobs import lifecycle
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import Adapter, File, Project, Task
from core.work import lease as leases
from core.work.lease import STARTING, TaskLease


@dataclass
class Work:
    """One task, as the function that does it sees it."""

    share_seconds: ClassVar[float] = 900.0
    """The time of a process after which its task gives way to one of another project."""

    settings: Settings
    sessions: sessionmaker[Session]
    store: ObjectStore
    task: Task
    lease: TaskLease
    phase: str = STARTING
    done: float = 0.0
    began: float = field(default_factory=time.monotonic)
    advanced_at: float = field(default_factory=time.monotonic)
    renewed_at: float = field(default_factory=time.monotonic)
    made: Adapter | File | None = None
    """The adapter or the file that the task has made.

    The function that does the task sets it, without its bytes. It gets these once they are in the store, and
    its row is written in the transaction that ends the task.
    """
    stopping: threading.Event = field(default_factory=threading.Event)
    """Whether the process shall stop, for work that then ends by itself."""
    leave_seconds: float = 0.0
    """The time from then until the process ends, also if it has lost its lease."""

    @property
    def prefix(self) -> str:
        """The prefix of the files that this attempt makes."""
        return self.lease.prefix

    @property
    def request(self) -> Any:
        """What the task is asked to do, in the form that its kind names."""
        return self.lease.kind.request.validate_python(self.task.request)

    def progress(self, phase: str, done: float) -> None:
        """Say what is being done, and which share of the work is done. Clients see it soon."""
        if done > self.done:
            self.advance()
        self.phase, self.done = phase, done

    def make_adapter(
        self,
        base_model: str,
        suffix: str | None,
        *,
        options: dict[str, Any],
        origin: dict[str, Any],
        facts: dict[str, Any],
    ) -> None:
        """Say which adapter the task has made. `facts` name its base revision, modules and parameters."""
        adapter_id, project_id = new_id("adapter-"), self.task.project_id
        with self.sessions() as session:
            model = lifecycle.model_name(session, base_model, project_id, suffix, adapter_id)
        self.made = Adapter(
            id=adapter_id,
            project_id=project_id,
            model=model,
            base_model=base_model,
            options=options,
            origin=origin,
            training=facts,
        )

    def check_room(self, folder: Path) -> None:
        """Let the files in the folder count for the project's quota before they are sent.

        Raises JobError if they do not fit. A task that a job has started does not fail for that.
        """
        size = sum(path.stat().st_size for path in folder.iterdir())
        project_id, param = self.task.project_id, "file_id" if isinstance(self.made, File) else None
        with self.sessions.begin() as session:
            leases.announce(session, self.lease, size)
            if self.task.started_by_job:
                return
            quotas = Quotas.of(session.get_one(Project, project_id), self.settings)
            try:
                check_store(session, project_id, quotas.stored_bytes, what=f"the result of {size:,} bytes")
            except QuotaExceeded as error:
                raise JobError("insufficient_quota", str(error), param) from error

    def advance(self, _nbytes: int = 0) -> None:
        """Note that the work advances, though its share may stay the same: bytes are sent or fetched."""
        self.advanced_at = time.monotonic()

    def give_way(self) -> None:
        """Raise GaveWay if this process has had its time, and another project's task of this class waits.

        It is for places from which the next process can go on.
        """
        if time.monotonic() < self.began + self.share_seconds:
            return
        with self.sessions() as session:
            if leases.other_projects_wait(session, self.task):
                raise GaveWay("the task of another project waits")


class GaveWay(TuneryError):
    """The task has had its time, and others wait. It goes back into the queue, and no loss is counted."""


class TryFailed(TuneryError):
    """This try has failed, as if its process had died. Another process tries again, later."""
