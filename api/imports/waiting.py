"""Waits for the ends of imports. A request that waits takes no thread, no connection and no permit."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from anyio import to_thread
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker
from starlette.requests import ClientDisconnect

from api.admission.shared_reads import SharedReads
from core.errors import Conflict, Unavailable
from core.tables import Task
from core.work import client as tasks

LOOK_SECONDS = 0.25  # between two looks at all imports that requests wait for
LEAST_SECONDS = 5.0  # that a worker gets to take an import: it looks for one each second


class ImportsInWork:
    """The imports that requests to this process wait for. Only the event loop may call."""

    def __init__(self, sessions: sessionmaker[Session], wait_seconds: float) -> None:
        """A worker has at least `wait_seconds` to take an import."""
        self._sessions = sessions
        self._wait_seconds = max(wait_seconds, LEAST_SECONDS)
        self._unfinished = SharedReads(self._read, rest=LOOK_SECONDS)

    async def until_ended(self, task_id: str, has_left: Callable[[], Awaitable[bool]]) -> None:
        """Return once the task has ended.

        Cancel it if the client leaves, and raise ClientDisconnect; or if no worker takes it, and raise
        Unavailable.
        """
        under_way_at = time.monotonic()
        while (is_under_way := await self._unfinished.read(task_id)) is not None:
            now = time.monotonic()
            under_way_at = now if is_under_way else under_way_at
            if await has_left():
                await to_thread.run_sync(self._cancel, task_id)
                raise ClientDisconnect
            if now - under_way_at > self._wait_seconds and await to_thread.run_sync(self._cancel, task_id):
                raise Unavailable(
                    f"No worker has taken the import within {self._wait_seconds:g} s: none runs, or all do "
                    "other imports. Nothing was imported; try again later."
                )

    def _read(self, task_ids: list[str]) -> dict[str, bool]:
        """Return of each task that has not ended whether a process does it now."""
        is_under_way = (Task.status == "running") & (Task.held_until > func.now())
        unfinished = select(Task.id, is_under_way).where(Task.id.in_(task_ids), Task.finished_at.is_(None))
        with self._sessions() as session:
            return dict(session.execute(unfinished).all())

    def _cancel(self, task_id: str) -> bool:
        """Cancel the task. Return False if it has ended meanwhile."""
        with suppress(Conflict), self._sessions.begin() as session:
            tasks.cancel(session, session.get_one(Task, task_id))
            return True
        return False
