"""Orders: the calls that all processes of a trainer make, because the first process makes them.

An order is a method with its arguments. The first process broadcasts the method's name and the positional
arguments, and each process runs the method on its own base model and trainees. So all processes make the same
calls in the same order, also when a job joins, leaves or fails.
"""

import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import structlog

from worker.engine.step.processes import GroupLost, Processes, SharedFault

G = TypeVar("G", bound="OrderedProcesses")
P = ParamSpec("P")
T = TypeVar("T")

log = structlog.get_logger()

NO_ORDER: tuple[str, tuple[Any, ...]] = "", ()


def order(method: Callable[Concatenate[G, P], T]) -> Callable[Concatenate[G, P], T]:
    """Make every process run the method when the first process calls it.

    Keyword arguments stay in the first process; in the others they have their defaults. An error in one
    process is raised in all of them before any goes on. The call raises it, or GroupLost.
    """

    @wraps(method)
    def in_all_processes(group: G, *arguments: P.args, **own: P.kwargs) -> T:
        group.processes.broadcast((method.__name__, arguments))
        try:
            return method(group, *arguments, **own)
        except SharedFault as fault:
            raise fault.error from fault
        except Exception as error:
            if group.size == 1:
                raise
            raise GroupLost(f"This process alone met {type(error).__name__}: {error}") from error

    return in_all_processes


class OrderedProcesses:
    """The processes of a trainer, as one of them sees them. A single process is a group of one.

    The first process gives orders, and the others `follow` them.
    """

    def __init__(self, processes: Processes) -> None:
        self.processes = processes
        self._stop = threading.Event()
        self._dismissed = False

    @property
    def size(self) -> int:
        return self.processes.size

    @property
    def is_first(self) -> bool:
        """Whether this is the first process."""
        return self.processes.number == 0

    @property
    def stopping(self) -> bool:
        """Whether this process was told to stop."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Make the next `asked_to_stop` return True. May be called from any thread, in any process."""
        self._stop.set()

    @order
    def asked_to_stop(self) -> bool:
        """Return whether any process was told to stop.

        The first process calls this often, even without work, to show the others that it still lives.
        """
        return self.processes.any(self.stopping)

    @order
    def dismiss(self) -> None:
        """End the group: this is the last order."""
        self._dismissed = True
        self.processes.close()

    def follow(self) -> None:
        """Carry out the first process's orders, until it dismisses this process."""
        while not self._dismissed:
            name, arguments = self.processes.broadcast(NO_ORDER)
            method = getattr(type(self), name).__wrapped__
            try:
                method(self, *arguments)
            except SharedFault as fault:  # the first process handles it
                log.warning("shared_fault", process=self.processes.number, exc_info=fault)
