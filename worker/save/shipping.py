"""The way of a job's files to the store and into the database, in threads beside the training one."""

from collections.abc import Callable
from concurrent.futures import Executor, Future

Load = Callable[[], object]


class Shipping:
    """One job's loads, one after another: each uploads what lies in a folder, verifies and commits it.

    The training thread sends them and looks what came of them; nothing is raised where nobody looks. Where
    one fails, those behind it fail likewise, and do not begin.
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
        """Have `load` run after what was sent before."""
        before, self._last = self._last, Future()
        self._last.add_done_callback(lambda _: self._ended())
        turn = (before, load, self._last)
        if before is None:
            self._pool.submit(self._run, *turn)
        else:  # no thread waits for another one
            before.add_done_callback(lambda _: self._pool.submit(self._run, *turn))

    def arrived(self) -> bool:
        """Whether nothing is under way. Raises what went wrong."""
        if self.under_way:
            return False
        self.wait()
        return True

    def wait(self) -> None:
        """Until nothing is under way. Raises what went wrong."""
        if self._last is not None:
            self._last.result()

    def abandon(self, then: Callable[[], object]) -> None:
        """Begin no other load. `then` is called once nothing is under way, in whichever thread that is."""
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
