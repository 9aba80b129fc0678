"""A thread that does the same again and again until it is told to stop."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

log = structlog.get_logger()


class Periodic:
    """Calls `tick` in a thread of its own, each time `seconds` after the last call has ended.

    What `tick` raises is logged, and the next call comes all the same: one that fails ends no thread.
    """

    def __init__(self, name: str, seconds: float, tick: Callable[[], object]) -> None:
        self._name = name
        self._seconds = seconds
        self._tick = tick
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """The call that is under way is the last one; nobody waits for it."""
        self._stopping.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait, `timeout` seconds at most, until the last call has ended."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stopping.wait(self._seconds):
            try:
                self._tick()
            except SQLAlchemyError as error:  # the database is away, most often
                log.warning("tick_failed", thread=self._name, error=str(error))
            except Exception as error:
                log.error("tick_broke", thread=self._name, exc_info=error)
