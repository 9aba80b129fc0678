"""Ends a worker that has had nothing to do for a while, so that its machine is free for others."""

import os
import signal
import time
from collections.abc import Callable, Collection

import structlog
from sqlalchemy.orm import Session, sessionmaker

from core import webhooks
from worker.supervisor.supervisor import Supervisor
from worker.tasks.frame.service import Tasks

log = structlog.get_logger()


def end_this_process() -> None:
    """End this process as an operator does who stops a worker."""
    os.kill(os.getpid(), signal.SIGTERM)


class IdleEnd:
    """Ends its worker once that has been idle for `seconds`. A job that it claims meanwhile is given back.

    Whatever starts a worker (`cli/slurm/work.sql`) also keeps it. Otherwise one worker after the other would
    start and end.
    """

    def __init__(
        self,
        seconds: float,
        sessions: sessionmaker[Session],
        supervisor: Supervisor,
        tasks: Collection[Tasks],
        end: Callable[[], None] = end_this_process,
    ) -> None:
        self._seconds = seconds
        self._sessions = sessions
        self._supervisor, self._tasks = supervisor, tasks
        self._end = end
        self._idle_since: float | None = None

    def look(self) -> None:
        """Look whether there is anything to do. A look that fails begins the time anew."""
        idle_since, self._idle_since = self._idle_since, None
        if any(tasks.has_work for tasks in self._tasks):
            return
        with self._sessions() as session:
            if self._supervisor.has_work(session) or webhooks.any_due(session):
                return
        self._idle_since = idle_since or time.monotonic()
        if time.monotonic() - self._idle_since >= self._seconds:
            log.info("worker_idle", seconds=self._seconds)
            self._end()
