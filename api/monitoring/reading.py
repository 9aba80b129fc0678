"""Reads figures in a thread of its own: a database that is frozen answers nothing, not even an error."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

import structlog

log = structlog.get_logger()

Figures = TypeVar("Figures")


class Reading(Generic[Figures]):
    """What `read` returns, read again if it is asked for after `fresh_seconds`. Any thread may ask.

    No second thread reads while one still waits for the database.
    """

    def __init__(self, name: str, read: Callable[[], Figures], fresh_seconds: float) -> None:
        self._name, self._read, self._fresh_seconds = name, read, fresh_seconds
        self._asking = threading.Lock()
        self._latest: Future[Figures | None] | None = None
        self._began = 0.0

    def ask(self) -> Future[Figures | None]:
        """Begin to read if that is due, and return what comes: None if it cannot be read."""
        with self._asking:
            latest, now = self._latest, time.monotonic()
            if latest is None or (latest.done() and now - self._began >= self._fresh_seconds):
                self._began, latest = now, Future()
                self._latest = latest
                threading.Thread(target=self._answer, args=[latest], name=self._name, daemon=True).start()
            return latest

    def _answer(self, asked: Future[Figures | None]) -> None:
        try:
            figures = self._read()
        except Exception as error:  # whoever asks sees it by the missing figures
            log.warning("figures_not_read", figures=self._name, error=str(error))
            asked.set_result(None)
        else:
            asked.set_result(figures)
