"""Answers polls of jobs. Polls that arrive while a query runs share the next query.

So a poll whose ETag is still valid needs no thread and no database connection of its own.
"""

import asyncio
from typing import NamedTuple

from anyio import CapacityLimiter, to_thread
from sqlalchemy.orm import Session, sessionmaker
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from api.http import conditional
from api.jobs import queries, service
from api.jobs.places import QueuePlaces
from api.jobs.schemas import JobObject

# A project may have POLLS_AT_ONCE polls at work (`api.admission.fair_share`). Without this limit, they could
# take all threads of the process.
READ_AT_ONCE = 4


class Polled(NamedTuple):
    project_id: str
    job_id: str


class SharedPolls:
    """Reads ETags with one query at a time. A query reads all ETags asked for since the last query."""

    def __init__(self, sessions: sessionmaker[Session], places: QueuePlaces, lease_seconds: float) -> None:
        self._sessions = sessions
        self._places = places
        self._lease_seconds = lease_seconds
        self._asked: dict[Polled, asyncio.Future[str | None]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._threads = CapacityLimiter(READ_AT_ONCE)

    async def tag(self, polled: Polled) -> str | None:
        """Return the job's ETag, read after this call began. Return None if the project has no such job."""
        answer = self._asked.get(polled)
        if answer is None:
            answer = self._asked[polled] = asyncio.get_running_loop().create_future()
        if self._reading is None or self._reading.done():
            self._reading = asyncio.create_task(self._read_all())
        # Other callers may wait for the same answer, so one that leaves must not cancel it.
        return await asyncio.shield(answer)

    async def read(self, polled: Polled) -> Response:
        """Return the job with its ETag. Raises NotFound."""
        return await to_thread.run_sync(self._read_one, polled, limiter=self._threads)

    def _read_one(self, polled: Polled) -> Response:
        with self._sessions() as session:
            row = service.get(session, *polled)
        version = row.as_version
        places = self._places.of_queued([version])
        shown = JobObject.of(row, self._lease_seconds, places.get(version.id))
        return conditional.tagged(shown, service.etag([version], places))

    async def _read_all(self) -> None:
        while self._asked:
            asked, self._asked = self._asked, {}
            try:
                tags = await run_in_threadpool(self._read_tags, list(asked))
            except Exception as error:
                for answer in asked.values():
                    answer.set_exception(error)
                    answer.exception()  # marks the error as seen: asyncio would warn if nobody waits any more
            else:
                for polled, answer in asked.items():
                    answer.set_result(tags.get(polled))

    def _read_tags(self, polled: list[Polled]) -> dict[Polled, str]:
        with self._sessions() as session:
            found = queries.find_versions(session, [each.job_id for each in polled])
        places = self._places.of_queued(version for _, version in found)
        return {
            Polled(project_id, version.id): service.etag([version], places) for project_id, version in found
        }
