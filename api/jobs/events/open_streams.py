"""Counts the open streams of events, so that they leave descriptors to other requests."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import RateLimited, Unavailable

MOST_STREAMS = 10_000  # of a process, since each takes some memory
STREAMS_SHARE = 0.75  # of the connections that a process may have
RETRY_SECONDS = 30


def most_streams(connections: int) -> int:
    """Return how many streams a process may send that may have so many connections."""
    return min(MOST_STREAMS, int(STREAMS_SHARE * connections))


class OpenStreams:
    """The streams that this process sends: `most` in all, and `most_of_project` of one project."""

    def __init__(self, most: int, most_of_project: int) -> None:
        self.most, self.most_of_project = most, most_of_project
        self._open: Counter[str] = Counter()

    @contextmanager
    def permit_for(self, project_id: str) -> Iterator[None]:
        """Count one more stream within the block. Raises RateLimited, and Unavailable."""
        if self._open[project_id] >= self.most_of_project:
            raise RateLimited(
                f"This project has {self.most_of_project} open streams of events, which is the most that it "
                "may have. Close some of them, or read the events page by page.",
                retry_after=RETRY_SECONDS,
            )
        if self._open.total() >= self.most:
            raise Unavailable(
                "This server sends as many streams of events as it can. Read the events page by page, or try "
                "again later."
            )
        self._open[project_id] += 1
        try:
            yield
        finally:
            self._open[project_id] -= 1
            if not self._open[project_id]:
                del self._open[project_id]
