"""Ends a trainer or a server whose device hangs in a computation.

No other process could notice this: the threads that renew a trainer's leases, or a server's row, would go on
for ever.
"""

import faulthandler
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

import structlog

from worker.process.exit_statuses import HUNG
from worker.process.periodic import Periodic

POLL_SECONDS = 1.0

log = structlog.get_logger()


class Watchdog:
    """Watches only computations, because the time to load, read and upload depends on other machines."""

    def __init__(self, seconds: float) -> None:
        """`seconds` is the longest time that one micro-batch, or one step of the sampler, may take."""
        self._seconds = seconds
        self._deadline = inf

    @property
    def hangs(self) -> bool:
        """Whether the present computation has taken longer than it may."""
        return time.monotonic() > self._deadline

    def start(self) -> None:
        Periodic("watchdog", POLL_SECONDS, self._look).start()

    @contextmanager
    def over(self, abandon: Callable[[], bool] = lambda: False) -> Iterator[Callable[[], bool]]:
        """Watch the computation inside the `with` block.

        Yields the function that the computation must call before each micro-batch, in place of `abandon`. It
        returns the answer of `abandon` and starts the time anew. The time that `abandon` itself takes does
        not count: it may save checkpoints.
        """

        def ask() -> bool:
            self._deadline = inf
            answer = abandon()
            self._deadline = time.monotonic() + self._seconds
            return answer

        self._deadline = time.monotonic() + self._seconds
        try:
            yield ask
        finally:
            self._deadline = inf

    def _look(self) -> None:
        if self.hangs:
            log.critical("computation_hangs", seconds=self._seconds)
            faulthandler.dump_traceback()
            os._exit(HUNG)
