"""Polled jobs. ETags that are asked for while others are being read share the next query.

So a poll whose ETag still holds costs no thread and no database connection of its own.
"""

import asyncio
from typing import NamedTuple

from anyio import CapacityLimiter, to_thread
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.http import conditional
from api.jobs import queries, service
from api.jobs.views import Presenter

# A key may have `api.http.fair_share.POLLS_AT_ONCE` polls in work at once, which would take all threads.
READ_AT_ONCE = 4


class Polled(NamedTuple):
    project_id: str
    job_id: str


class SharedPolls:
    """Reads ETags with one query at a time, of all that were asked for since the one before began."""

    def __init__(self, sessions: sessionmaker[Session], presenter: Presenter) -> None:
        self._sessions = sessions
        self._presenter = presenter
        self._asked: dict[Polled, asyncio.Future[str | None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._threads = CapacityLimiter(READ_AT_ONCE)

    async def tag(self, polled: Polled) -> str | None:
        """The job's ETag, as of no earlier than this call; None where the project has no such job."""
        answer = self._asked.get(polled)
        if answer is None:
            answer = self._asked[polled] = asyncio.get_running_loop().create_future()
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        return await asyncio.shield(answer)  # others may wait for it too

    async def read(self, polled: Polled) -> Response:
        """The job, under its ETag. Raises NotFound."""
        return await to_thread.run_sync(self._read_one, polled, limiter=self._threads)

    def _read_one(self, polled: Polled) -> Response:
        with self._sessions() as session:
            row = service.get(session, *polled)
        return conditional.tagged(self._presenter.job(row), self._presenter.tag([row.as_version]))

    async def _read_all(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                tags = await run_in_threadpool(self._read_tags, list(asked))
            except Exception as error:
                for answer in asked.values():
                    answer.set_exception(error)
                    answer.exception()  # nobody may wait any more, which is no reason for a warning
            else:
                for polled, answer in asked.items():
                    answer.set_result(tags.get(polled))

    def _read_tags(self, polled: list[Polled]) -> dict[Polled, str]:
        with self._sessions() as session:
            versions = queries.find_versions(session, [each.job_id for each in polled])
        return {
            Polled(project_id, version.id): self._presenter.tag([version]) for project_id, version in versions
        }
