"""A thread that repeats a call until it is stopped."""

import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

REST = 20  # a slow call is followed by so many times its own length

log = structlog.get_logger()


class Periodic:
    """A thread that calls `tick` again and again, each time `seconds` after the last call has ended.

    If a call was slow, the next one follows later, but at most `most_seconds` later. So whoever answers the
    calls has fewer of them to answer. By default, all calls follow after `seconds`.
    An exception of `tick` is logged and does not end the thread: the next call follows as usual.
    """

    def __init__(
        self, name: str, seconds: float, tick: Callable[[], object], most_seconds: float | None = None
    ) -> None:
        self._name = name
        self._seconds, self._most_seconds = seconds, most_seconds or seconds
        self._tick = tick
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Let no further call begin. A call that is running goes on; this method does not wait for it."""
        self._stopping.set()

    def join(self, timeout: float | None = None) -> None:
        """Wait until the last call has ended, but at most `timeout` seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        rest = self._seconds
        while not self._stopping.wait(rest):
            began = time.monotonic()
            attempt(self._name, self._tick)
            slow = REST * (time.monotonic() - began)
            rest = min(max(self._seconds, slow), self._most_seconds)


def attempt(thread: str, tick: Callable[[], object]) -> None:
    """Call `tick`, and log its exception if it raises one."""
    try:
        tick()
    except SQLAlchemyError as error:  # most often because the database is away
        log.warning("tick_failed", thread=thread, error=str(error))
    except Exception as error:
        log.error("tick_broke", thread=thread, exc_info=error)
