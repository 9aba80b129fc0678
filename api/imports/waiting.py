"""Waits for the ends of imports. A request that waits takes no thread, no connection and no permit."""

import time
from contextlib import suppress
from typing import Literal

from anyio import to_thread
from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, sessionmaker
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api.admission.shared_reads import SharedReads
from api.http.leaving import while_client_waits
from core.errors import AppError, Conflict, RateLimited, Unavailable
from core.tables import Task
from core.work import client as tasks
from core.work.kinds import IMPORT
from core.work.lease import running_of_project

LOOK_SECONDS = 0.25  # between two looks at all imports that requests wait for
LEAST_SECONDS = 5.0  # that a worker gets to take an import: it looks for one each second
RETRY_SECONDS = 10

WaitsFor = Literal["nothing", "a worker", "its project"]
"""An import waits for another import of its project, or else for a worker"""


class ImportsInWork:
    """The imports that requests to this process wait for. Only the event loop may call."""

    def __init__(self, sessions: sessionmaker[Session], wait_seconds: float) -> None:
        """An import waits for a worker, or for others of its project, for at least `wait_seconds`."""
        self._sessions = sessions
        self._wait_seconds = max(wait_seconds, LEAST_SECONDS)
        self._unfinished = SharedReads(self._read, rest=LOOK_SECONDS)

    async def until_ended(self, task_id: str, receive: Receive) -> None:
        """Return once the task has ended.

        Cancel it if the client leaves, and raise ClientDisconnect. Cancel it too if it has waited for too
        long: then raise RateLimited if another import of the project is under way, and else Unavailable.
        """
        try:
            async with while_client_waits(receive):
                await self._until_ended(task_id)
        except ClientDisconnect:
            await to_thread.run_sync(self._cancel, task_id)
            raise

    async def _until_ended(self, task_id: str) -> None:
        waits_since = time.monotonic()
        while (waits_for := await self._unfinished.read(task_id)) is not None:
            now = time.monotonic()
            waits_since = now if waits_for == "nothing" else waits_since
            if now - waits_since > self._wait_seconds and await to_thread.run_sync(self._cancel, task_id):
                raise self._refusal(waits_for)

    def _refusal(self, waits_for: WaitsFor) -> AppError:
        if waits_for == "its project":
            return RateLimited(
                "A project has one import under way at a time, and this one has waited for others for "
                f"{self._wait_seconds:g} s. Nothing was imported; send it again when they have ended.",
                retry_after=RETRY_SECONDS,
            )
        return Unavailable(
            f"No worker has taken the import within {self._wait_seconds:g} s: none runs, or all do "
            "other imports. Nothing was imported; try again later."
        )

    def _read(self, task_ids: list[str]) -> dict[str, WaitsFor]:
        """Return of each task that has not ended what it waits for."""
        is_under_way = (Task.status == "running") & (Task.held_until > func.now())
        none_of_project = running_of_project((IMPORT.name,)) == 0
        waits_for = case((is_under_way, "nothing"), (none_of_project, "a worker"), else_="its project")
        unfinished = select(Task.id, waits_for).where(Task.id.in_(task_ids), Task.finished_at.is_(None))
        with self._sessions() as session:
            return dict(session.execute(unfinished).all())

    def _cancel(self, task_id: str) -> bool:
        """Cancel the task. Return False if it has ended meanwhile."""
        with suppress(Conflict), self._sessions.begin() as session:
            tasks.cancel(session, session.get_one(Task, task_id))
            return True
        return False
