"""Each waiting job's place in the queue, as it was a moment ago."""

import threading
import time

from sqlalchemy.orm import Session, sessionmaker

from core.jobs import queue

# Reading all places takes time in proportion to the queue, so polls share a reading until its age is this
# many times what it took: a twentieth of one thread's time at most, whatever the queue's length.
SHARED_FOR = 20


class QueuePlaces:
    """One reading for all requests of a process. Whoever comes while another reads gets the one before."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions
        self._reading = threading.Lock()
        self._stale_at = 0.0
        self._places: dict[str, int] = {}

    def of(self, job_id: str) -> int | None:
        """1 for the next one of its device class. None where the job does not wait, or not for long yet."""
        if time.monotonic() > self._stale_at and self._reading.acquire(blocking=False):
            try:
                self._read()
            finally:
                self._reading.release()
        return self._places.get(job_id)

    def _read(self) -> None:
        began = time.monotonic()
        with self._sessions() as session:
            self._places = {row.id: row.place for row in session.execute(queue.places())}
        now = time.monotonic()
        self._stale_at = now + SHARED_FOR * (now - began)
