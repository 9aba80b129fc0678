"""Answers polls of jobs. Polls that arrive while a query runs share the next query.

So the more polls there are, the less each of them costs: most need no thread and no database connection of
their own.
"""

from typing import NamedTuple

from sqlalchemy.orm import Session, sessionmaker
from starlette.responses import Response

from api.admission.shared_reads import SharedReads
from api.http import conditional
from api.jobs import queries, service
from api.jobs.queries import JobRow
from api.jobs.queue_positions import QueuePositions
from api.jobs.schemas import JobObject


class Polled(NamedTuple):
    project_id: str
    job_id: str


class Found(NamedTuple):
    """A job that was polled, and its position in the queue if it waits."""

    row: JobRow
    position: int | None


class SharedPolls:
    """Reads jobs, and their ETags alone, for all polls of the process. A 304 needs no more than the ETag."""

    def __init__(
        self, sessions: sessionmaker[Session], positions: QueuePositions, lease_seconds: float
    ) -> None:
        self._sessions = sessions
        self._positions = positions
        self._lease_seconds = lease_seconds
        self._tags = SharedReads(self._read_tags)
        self._jobs = SharedReads(self._read_jobs)

    async def tag(self, polled: Polled) -> str | None:
        """Return the job's ETag, read after this call began. Return None if the project has no such job."""
        return await self._tags.read(polled)

    async def read(self, polled: Polled) -> Response:
        """Return the job with its ETag, read after this call began. Raises NotFound."""
        found = await self._jobs.read(polled)
        if found is None:
            raise service.no_such_job(polled.job_id)
        # Not in the thread that reads for all: an error there would be an error of all polls.
        shown = JobObject.of(found.row, self._lease_seconds, found.position)
        version = found.row.as_version
        positions = {} if found.position is None else {version.id: found.position}
        return conditional.tagged(shown, service.etag([version], positions))

    def _read_tags(self, polled: list[Polled]) -> dict[Polled, str]:
        with self._sessions() as session:
            found = queries.find_versions(session, [each.job_id for each in polled])
        positions = self._positions.of_queued(version for _, version in found)
        return {
            Polled(project_id, version.id): service.etag([version], positions)
            for project_id, version in found
        }

    def _read_jobs(self, polled: list[Polled]) -> dict[Polled, Found]:
        with self._sessions() as session:
            rows = queries.find_rows(session, [each.job_id for each in polled])
        positions = self._positions.of_queued(row.job for row in rows)
        return {Polled(row.job.project_id, row.job.id): Found(row, positions.get(row.job.id)) for row in rows}
