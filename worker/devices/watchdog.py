"""Ends a trainer whose device does not come back from a computation.

Its reporters are threads of their own and would renew its leases for ever, so nobody else could tell.
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
    """Watches computations alone: loading, reading and uploading take as long as others let them."""

    def __init__(self, seconds: float) -> None:
        """`seconds` are what one micro-batch may take."""
        self._seconds = seconds
        self._deadline = inf

    @property
    def hangs(self) -> bool:
        return time.monotonic() > self._deadline

    def start(self) -> None:
        Periodic("watchdog", POLL_SECONDS, self._look).start()

    @contextmanager
    def over(self, abandon: Callable[[], bool] = lambda: False) -> Iterator[Callable[[], bool]]:
        """Watch what computes inside. Before each micro-batch it asks what it is given, instead of `abandon`.

        What `abandon` itself does is not watched: it may save checkpoints.
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
            log.critical("trainer_hangs", seconds=self._seconds)
            faulthandler.dump_traceback()
            os._exit(HUNG)
