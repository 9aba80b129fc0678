"""Runs functions in processes beside the caller's own.

A run can neither hold up the caller's event loop nor take its memory, and it can be killed. AnyIO starts the
processes when they are first needed, and kills them when the event loop ends. Different functions may take
turns in one process.
"""

import os
import resource
import signal
from collections.abc import Callable
from typing import TypeVar

import psutil
from anyio import BrokenWorkerProcess, CancelScope, CapacityLimiter, move_on_after, to_process

from core.errors import Unavailable

Result = TypeVar("Result")


class ProcessDied(Exception):
    """The process of a run has died, for example because the system ran out of memory."""


class Apart:
    """The runs beside one process: `at_once` of them. Others wait, in the order in which they came."""

    def __init__(self, at_once: int) -> None:
        self._permits = CapacityLimiter(at_once)
        self.running: set[CancelScope] = set()
        self._closed = False

    async def run(self, seconds: float, function: Callable[..., Result], *arguments: object) -> Result:
        """Return what a function returns. The process is killed if the caller is cancelled.

        Raises what the function raises, TimeoutError after so many seconds, ProcessDied, and Unavailable if
        `close` was called.
        """
        async with self._permits:
            with move_on_after(seconds) as scope:
                if self._closed:
                    scope.cancel()
                self.running.add(scope)
                try:
                    # The permits limit the runs, so AnyIO need not do it too
                    return await to_process.run_sync(
                        function, *arguments, cancellable=True, limiter=CapacityLimiter(1)
                    )
                except BrokenWorkerProcess as error:
                    raise ProcessDied from error
                finally:
                    self.running.discard(scope)
        if self._closed:
            raise Unavailable("The server is stopping. Try again in a few seconds.")
        raise TimeoutError

    def close(self) -> None:
        """End all runs and let none begin. To be called in the thread of the event loop."""
        self._closed = True
        for scope in self.running:
            scope.cancel()


def drop_secrets() -> None:
    """Empty the environment of this process, which has the caller's secrets, and ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.clear()


def address_space() -> int:
    """Return the bytes of address space that this process has."""
    return int(psutil.Process().memory_info().vms)


def limit_address_space(most: int) -> None:
    """Bound this process's address space, in bytes. Its children may raise the bound again."""
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))
