"""Ships a job's files to the store and commits them, in threads beside the training thread."""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Literal

from core.errors import LeaseLost
from core.monitoring import declared
from worker.process.recorder import recorder

Saved = Literal["checkpoint", "publication"]
SECONDS = {"checkpoint": declared.CHECKPOINT_SECONDS, "publication": declared.PUBLICATION_SECONDS}
Load = Callable[[], object]


class Shipping:
    """Runs one job's loads one after another. A load uploads, verifies and commits the files of a folder.

    The training thread sends the loads and asks for their outcome; an error is raised only then. When a load
    has failed, the loads after it do not begin, and fail with the same error.
    """

    def __init__(self, pool: Executor, ended: Callable[[], object]) -> None:
        """`ended` is called, in a thread of `pool`, when a load has arrived or failed."""
        self._pool = pool
        self._ended = ended
        self._last: Future[None] | None = None
        self._abandoned = False

    @property
    def under_way(self) -> bool:
        """Whether a load has not ended yet."""
        return self._last is not None and not self._last.done()

    def send(self, load: Load) -> None:
        """Have `load` run after all that was sent before."""
        before, self._last = self._last, Future()
        self._last.add_done_callback(lambda _: self._ended())
        entry = (before, load, self._last)
        if before is None:
            self._pool.submit(self._run, *entry)
        else:  # submitted after the load before it, so that no thread of the pool waits
            before.add_done_callback(lambda _: self._pool.submit(self._run, *entry))

    def arrived(self) -> bool:
        """Return whether nothing is under way. Raises the error of a load that failed."""
        if self.under_way:
            return False
        self.wait()
        return True

    def wait(self) -> None:
        """Wait until nothing is under way. Raises the error of a load that failed."""
        if self._last is not None:
            self._last.result()

    def abandon(self, then: Callable[[], object]) -> None:
        """Begin no other load. Call `then` once nothing is under way, possibly in a thread of the pool."""
        self._abandoned = True
        if self._last is None:
            then()
        else:
            self._last.add_done_callback(lambda _: then())

    def _run(self, before: "Future[None] | None", load: Load, outcome: "Future[None]") -> None:
        try:
            if before is not None:
                before.result()
            if not self._abandoned:
                load()
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)


@contextmanager
def recorded(what: Saved) -> Iterator[None]:
    """Record for Prometheus how long the block takes, or that it fails. A lost lease is no failure."""
    try:
        with recorder.timed(SECONDS[what]):
            yield
    except LeaseLost:
        raise
    except Exception:
        recorder.count(declared.SAVE_FAILURES, what=what)
        raise
