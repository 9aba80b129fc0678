"""The parts of the service as child processes of `up`: started, watched, started again, stopped.

A child and its descendants carry a mark in their environment. By the mark, the next `up` finds what a killed
`up` has left.

If a part dies, the processes that it started may take some time to end by themselves: the part's grace. In
that time, a trainer whose worker was killed writes a checkpoint and gives its jobs back. After the grace they
are killed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import psutil

from cli.child import Child, is_alive, limit
from cli.client.home import Home
from cli.client.output import note
from cli.up.restarts import Restarts, name_exit

MARK = "TUNERY_PART_OF"  # a variable of the environment; its value names the part and the state folder

# The exit code of a ConfigurationError: another start would fail in the same way
MISCONFIGURED = 2


class WatchedChild:
    """One part. It, or the orphans that it leaves, may take `grace` seconds to end by themselves."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], home: Home, grace: float
    ) -> None:
        self.name = name
        self._child = child_of(home, name)
        self.log = self._child.log
        self._command = command
        self._environment = {**environment, MARK: mark(home, name)}
        self._grace = grace
        self._restarts = Restarts(name, self.log)
        self._dead = False
        self._orphans: Sequence[psutil.Process] = ()
        self._is_late: Callable[[], bool] = limit(0)

    def start(self) -> None:
        self._child.start(self._command, self._environment)
        self._dead = False
        self._restarts.started()

    def tend(self) -> None:
        """If the part has died, start it again after a growing delay. Raises GaveUp."""
        if self._dead:
            if self._restarts.due and (self._is_late() or not any(map(is_alive, self._orphans))):
                self._child.kill()
                self.start()
        elif (code := self._child.exit_code) is not None:
            self._dead = True
            self._orphans, self._is_late = self._child.family(), limit(self._grace)
            self._restarts.plan(name_exit(code), hopeless=code == MISCONFIGURED)
            if self._orphans:
                note(
                    f"Before the restart, its orphans may take {self._grace:g} s to save their work",
                    "yellow",
                )

    def stop(self, hurried: Callable[[], bool] = lambda: False) -> None:
        """Send SIGTERM. When the grace is over or `hurried` is true, send SIGKILL to the rest."""
        is_late = limit(self._grace, hurried)
        if not self._child.ask_to_end(is_late):
            note(f"The {self.name} has not stopped by itself; killing it", "yellow")
        self._child.end(is_late)


def child_of(home: Home, name: str) -> Child:
    """Return the process of a part, whichever `up` of this state folder has started it."""
    value = mark(home, name)
    return Child(
        f"The {name}",
        home.logs / f"{name}.log",
        home.run / f"{name}.json",
        lambda process: process.environ().get(MARK) == value,
    )


def mark(home: Home, name: str) -> str:
    return f"{name}@{home.path}"


def stop_leftovers(
    home: Home, graces: Iterable[tuple[str, float]], hurried: Callable[[], bool] = lambda: False
) -> None:
    """Stop the processes that an earlier `up` of this state folder left, part by part, each within its grace.

    The caller holds the folder's lock.
    """
    for name, grace in graces:
        is_late = limit(grace, hurried)
        child = child_of(home, name)
        leader = child.leader()
        if left := [leader] if leader is not None else child.family():
            pids = ", ".join(str(process.pid) for process in left)
            note(f"Stopping the {name} (pid {pids}) that an earlier `tunery up` left running")
        child.ask_to_end(is_late)
        child.end(is_late)
