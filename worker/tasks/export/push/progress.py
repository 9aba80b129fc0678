"""How far a push has come, so that one that advances is not taken for one that hangs."""

import threading
from collections.abc import Callable


class Progress:
    """Counts the bytes that were sent, and reports their share. Several threads may add to it."""

    def __init__(self, report: Callable[[float], None], total: int) -> None:
        self._report, self._total = report, max(total, 1)
        self._sent = 0
        self._lock = threading.Lock()

    def add(self, nbytes: int) -> None:
        """Count more bytes. A negative number takes back what is sent again."""
        with self._lock:
            self._sent += nbytes
            self._report(min(max(self._sent / self._total, 0.0), 1.0))
