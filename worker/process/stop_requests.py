"""Hears that this process shall stop: by a signal, or by the end of the process that has started it."""

import signal
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue


def at_signal(number: signal.Signals, action: Callable[[], object]) -> None:
    """Run `action` in a thread of its own when the signal comes.

    A signal handler interrupts the main thread, which may hold a lock that `action` needs.
    """
    came: SimpleQueue[None] = SimpleQueue()  # its `put` is safe in a signal handler

    def wait() -> None:
        came.get()
        action()

    threading.Thread(target=wait, daemon=True).start()
    signal.signal(number, lambda *_: came.put(None))


def at_end_of_worker(action: Callable[[], object]) -> None:
    """Run `action` in a thread of its own when the worker ends.

    Its end closes our standard input, however it ends.
    """

    def wait() -> None:
        sys.stdin.read()
        action()

    threading.Thread(target=wait, daemon=True).start()
