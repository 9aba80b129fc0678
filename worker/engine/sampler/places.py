"""The places in which requests are computed, divided between projects.

A project alone may have all places. While several projects have requests, each has a right to an equal share.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from worker.engine.sampler.running import Running
from worker.process.equal_share import is_within_share


class Places:
    """The requests that have a place, and those that wait for one."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.running: list[Running] = []  # in the order in which they got their places
        self._waiting: dict[str, deque[Running]] = {}  # by project: those that got a place last come last

    @property
    def waiting(self) -> int:
        return sum(map(len, self._waiting.values()))

    def all(self) -> Iterator[Running]:
        """Yield the requests that have places, then those that wait."""
        yield from self.running
        for line in self._waiting.values():
            yield from line

    @property
    def full(self) -> bool:
        return len(self.running) >= self.count

    def add(self, one: Running) -> None:
        """Let a request wait behind those of its project."""
        self._waiting.setdefault(one.request.project, deque()).append(one)

    def begin(self, one: Running) -> None:
        """Give a request that waits a place. Its project goes behind the others that wait."""
        self._leave(one)
        self.running.append(one)

    def give_way(self, one: Running) -> None:
        """Take the place of a request. It waits before those of its project."""
        self.running.remove(one)
        self._waiting.setdefault(one.request.project, deque()).appendleft(one)

    def remove(self, one: Running) -> None:
        """Forget a request."""
        if one in self.running:
            self.running.remove(one)
        else:
            self._leave(one)

    def by_project(self) -> dict[str, list[Running]]:
        """Return the requests that have places, the newest first, and the projects in the same order."""
        found: dict[str, list[Running]] = {}
        for one in reversed(self.running):
            found.setdefault(one.request.project, []).append(one)
        return found

    def projects(self) -> list[str]:
        """Return the projects that have requests.

        Those with the fewest places come first, and of these the one that has waited for a place for longest.
        """
        running = self.by_project()
        return sorted({**self._waiting, **running}, key=lambda project: len(running.get(project, ())))

    def waiting_of(self, project: str) -> Sequence[Running]:
        """Return the requests of a project that wait, in their order."""
        return self._waiting.get(project, ())

    def has_right_to_one_more(self, project: str) -> bool:
        """Whether a project has less than its equal share, so that another one must give way if need be."""
        own = sum(one.request.project == project for one in self.running)
        return is_within_share(own + 1, len(self.projects()), self.count)

    def newest_of_largest(self, size: Callable[[Sequence[Running]], int] = len) -> Running:
        """Return the newest request of the project that is largest by `size`, which gives way first."""
        return max(self.by_project().values(), key=size)[0]

    def _leave(self, one: Running) -> None:
        """Take a request out of those that wait."""
        line = self._waiting.pop(one.request.project)
        line.remove(one)
        if line:
            self._waiting[one.request.project] = line
