"""A program that runs as a child process of `tunery up`, and that is found again if its owner was killed.

A child leads its own session, so that a Ctrl-C in the owner's terminal does not reach it: the owner stops it
in order. A record has the pid and the start time of the child. The processes that the child starts are its
family. They may outlive it, and are recognized by something that they have in common.
"""

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from cli.private_files import write_private
from core.errors import ConfigurationError

POLL_SECONDS = 0.02
KILL_SECONDS = 10


class Child:
    """One program. Its output goes to `log`, and `record` is the file of its record.

    `is_family` returns whether this program started a process, also if another owner started the program. It
    may raise psutil.Error for a process that is gone or that belongs to another user.
    """

    def __init__(
        self,
        title: str,
        log: Path,
        record: Path,
        is_family: Callable[[psutil.Process], bool],
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._title, self.log, self._record = title, log, record
        self._is_family, self._stop_signal = is_family, stop_signal
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id, None if this owner has not started the program or the program has ended."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """`Popen.returncode` once the program has ended, None before."""
        return self._process.poll() if self._process else None

    def start(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
    ) -> None:
        self._process = self.spawn(command, environment, folder)
        pid = self._process.pid
        write_private(self._record, json.dumps({"pid": pid, "started": start_time(pid)}))

    def spawn(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path | None = None
    ) -> "subprocess.Popen[bytes]":
        """Start a helper of the program, which has no record."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def leader(self) -> psutil.Process | None:
        """Return the program's own process, whoever started it, or None if it no longer runs."""
        if (pid := self.pid) is None:
            return self._recorded()
        try:
            return psutil.Process(pid)
        except psutil.NoSuchProcess:
            return None

    def family(self) -> list[psutil.Process]:
        """Return the program's own process, and all that it started and that still live."""
        found = {process.pid: process for process in psutil.process_iter() if self._belongs(process)}
        if (leader := self.leader()) is not None:
            found[leader.pid] = leader
        return [process for process in found.values() if is_alive(process)]

    def ask_to_end(self, is_late: Callable[[], bool]) -> bool:
        """Send the program the signal to stop, and wait. Return False if it still runs when it is late."""
        leader = self.leader()
        if leader is None:
            return True
        send(leader, self._stop_signal)
        return self._wait_for([leader], is_late)

    def end(self, is_late: Callable[[], bool]) -> None:
        """Let the family end by itself, and kill those that still run when it is late."""
        self._wait_for(self.family(), is_late)
        self.kill()
        self._record.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kill the family. Raises ConfigurationError if it outlives that, for example for a broken disk."""
        while family := self.family():
            for process in family:
                send(process, signal.SIGKILL)
            if not self._wait_for(family, limit(KILL_SECONDS)):
                raise ConfigurationError(f"{self._title} cannot be killed; is its disk responding?")

    def _wait_for(self, processes: Iterable[psutil.Process], is_late: Callable[[], bool]) -> bool:
        def ended() -> bool:
            if self._process is not None:
                self._process.poll()  # reaps it
            return not any(map(is_alive, processes))

        return wait_until(ended, is_late)

    def _belongs(self, process: psutil.Process) -> bool:
        try:
            return self._is_family(process)
        except (psutil.Error, OSError):
            return False

    def _recorded(self) -> psutil.Process | None:
        """Return the process of the record, unless its pid now belongs to another process."""
        try:
            record = json.loads(self._record.read_text())
            process = psutil.Process(record["pid"])
            same = start_time(process.pid) == record["started"]
        except (OSError, ValueError, KeyError, TypeError, psutil.Error):
            return None
        return process if same and is_alive(process) else None


def limit(seconds: float, hurried: Callable[[], bool] = lambda: False) -> Callable[[], bool]:
    """Return a function that returns whether `seconds` are over or `hurried` returns true."""
    deadline = time.monotonic() + seconds
    return lambda: hurried() or time.monotonic() >= deadline


def wait_until(condition: Callable[[], bool], is_late: Callable[[], bool]) -> bool:
    """Return True as soon as `condition` is true, or False if it is late before."""
    while not condition():
        if is_late():
            return False
        time.sleep(POLL_SECONDS)
    return True


def is_alive(process: psutil.Process) -> bool:
    """Return whether the process still has a thread, and with it its ports.

    A zombie may have threads: the first thread may end long before the last one, which closes the files. A
    zombie without them does not live; in a container, nobody may reap the children of a dead owner.
    """
    try:
        return process.is_running() and (
            process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
        )
    except psutil.NoSuchProcess:
        return False


def send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):  # psutil checks first that the pid was not reused
        try:
            process.send_signal(number)
        except psutil.AccessDenied:
            raise ConfigurationError(
                f"Process {process.pid} of an earlier run belongs to another user. Stop it, then start again."
            ) from None


def start_time(pid: int) -> str | None:
    """Return the boot id, and the tick at which the process started. A change of the clock alters neither."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return f"{boot}:{fields[19]}"
