"""The position of each waiting job in the queue, as it was a moment ago."""

import threading
import time
from collections.abc import Iterable

from sqlalchemy.orm import Session, sessionmaker

from api.jobs.queries import JobVersion
from core.jobs import queue
from core.tables import Job

# The time to read all positions grows with the queue. So polls share the positions that were read, until the
# positions are this many times as old as the reading took. Then reading takes at most a twentieth of one
# thread's time, however long the queue is.
SHARED_FOR = 20


class QueuePositions:
    """Reads all positions once for all requests of a process.

    A request that arrives while another one reads gets the positions that were read before.
    """

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._reading = threading.Lock()
        self._stale_at = 0.0
        self._positions: dict[str, int] = {}

    def of_queued(self, jobs: Iterable[Job | JobVersion]) -> dict[str, int]:
        """Return the positions of those jobs that are queued, by id; 1 is the next job on as many devices.

        This reads the database if the known positions are too old and one of the jobs is queued. A job that
        has just been queued may have no position yet.
        """
        queued = [job.id for job in jobs if job.status == "queued"]
        if not queued:
            return {}
        if time.monotonic() > self._stale_at and self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()
        positions = self._positions
        return {job_id: positions[job_id] for job_id in queued if job_id in positions}

    def _read(self) -> None:
        began = time.monotonic()
        with self._sessions() as session:
            self._positions = {row.id: row.position for row in session.execute(queue.positions())}
        now = time.monotonic()
        self._stale_at = now + SHARED_FOR * (now - began)
