"""The parts of the service as child processes of `up`: started, watched, started again, stopped.

Each child leads its own session, so that the terminal's Ctrl-C reaches only `up`. A record in HOME/run has
the pid and start time of the child. The child and its descendants carry a mark in their environment. If an
`up` is killed, the next `up` finds the processes that are left: the child by pid and start time, the others
by the mark.

If a part dies, the processes that it started may take some time to end by themselves: the part's grace. In
that time, a trainer whose worker was killed writes a checkpoint and gives its jobs back. After the grace they
are killed.
"""

import json
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from cli.client.home import Home, read
from cli.client.output import note
from cli.embedded.private_files import write_private
from cli.up.restarts import Restarts, name_exit

MARK = "TUNERY_PART_OF"  # a variable of the environment; its value names the part and the state folder

# The exit code of a ConfigurationError: another start would fail in the same way
MISCONFIGURED = 2
POLL_SECONDS = 0.05


class Child:
    """One part. It, or the orphans that it leaves, may take `grace` seconds to end by themselves."""

    def __init__(
        self, name: str, command: Sequence[str], environment: Mapping[str, str], home: Home, grace: float
    ) -> None:
        self.name = name
        self.log = home.logs / f"{name}.log"
        self._command = command
        self._environment = dict(environment) | {MARK: mark(home, name)}
        self._mark = mark(home, name)
        self._record = home.run / f"{name}.json"
        self._grace = grace
        self._process: subprocess.Popen[bytes] | None = None
        self._restarts = Restarts(name, self.log)
        self._orphans: Sequence[psutil.Process] = ()
        self._orphans_until = 0.0

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._restarts.started()
        write_record(self._record, self._process.pid)

    def tend(self) -> None:
        """If the part has died, start it again after a growing delay. Raises GaveUp."""
        if self._process is None:
            if self._restarts.due and not self._orphans_go_on():
                kill(marked(self._mark))
                self.start()
            return
        code = self._process.poll()
        if code is not None:
            self._process = None
            self._orphans, self._orphans_until = marked(self._mark), time.monotonic() + self._grace
            self._restarts.plan(name_exit(code), hopeless=code == MISCONFIGURED)
            if self._orphans:
                note(
                    f"Before the restart, its orphans may take {self._grace:g} s to save their work",
                    "yellow",
                )

    def stop(self, hurried: Callable[[], bool] = lambda: False) -> None:
        """Send SIGTERM. When the grace is over or `hurried` is true, send SIGKILL to the rest."""
        is_late = limit(self._grace, hurried)
        if (process := self._process) is not None:
            process.terminate()
            while process.poll() is None and not is_late():
                time.sleep(POLL_SECONDS)
            if process.poll() is None:
                note(f"The {self.name} has not stopped by itself; killing it", "yellow")
                process.kill()
            process.wait()
            self._process = None
        end(self._mark, is_late)
        self._record.unlink(missing_ok=True)

    def _orphans_go_on(self) -> bool:
        return time.monotonic() < self._orphans_until and any(map(is_alive, self._orphans))


def mark(home: Home, name: str) -> str:
    return f"{name}@{home.path}"


def marked(value: str) -> list[psutil.Process]:
    """Return the processes that carry the mark: the part itself and its descendants."""
    return [process for process in psutil.process_iter() if _environment(process).get(MARK) == value]


def stop_leftovers(
    home: Home, graces: Iterable[tuple[str, float]], hurried: Callable[[], bool] = lambda: False
) -> None:
    """Stop the processes that an earlier `up` of this state folder left, part by part, each within its grace.

    The caller holds the folder's lock.
    """
    for name, grace in graces:
        is_late = limit(grace, hurried)
        path = home.run / f"{name}.json"
        leader = read_record(path)
        left = marked(mark(home, name)) if leader is None else [leader]
        if left:
            pids = ", ".join(str(process.pid) for process in left)
            note(f"Stopping the {name} (pid {pids}) that an earlier `tunery up` left running")
        if leader is not None:
            with suppress(psutil.NoSuchProcess):
                leader.terminate()
            wait_for([leader], is_late)
            kill([leader])
        end(mark(home, name), is_late)
        path.unlink(missing_ok=True)


def limit(seconds: float, hurried: Callable[[], bool]) -> Callable[[], bool]:
    """Return a function that returns whether `seconds` are over or `hurried` returns true."""
    deadline = time.monotonic() + seconds
    return lambda: hurried() or time.monotonic() >= deadline


def wait_for(processes: Sequence[psutil.Process], is_late: Callable[[], bool]) -> None:
    while any(map(is_alive, processes)) and not is_late():
        time.sleep(POLL_SECONDS)


def end(mark: str, is_late: Callable[[], bool]) -> None:
    """Let the marked processes end by themselves, and kill the rest."""
    wait_for(marked(mark), is_late)
    kill(marked(mark))


def is_alive(process: psutil.Process) -> bool:
    """Whether the process runs. A zombie does not run; in a container, it may never be reaped."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(processes: Sequence[psutil.Process]) -> None:
    """Send SIGKILL to the processes, and wait until they are gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def write_record(path: Path, pid: int) -> None:
    write_private(path, json.dumps({"pid": pid, "started": start_time(pid)}))


def read_record(path: Path) -> psutil.Process | None:
    """Return the process of the record, or None if that process no longer runs."""
    text = read(path)
    if text is None:
        return None
    try:
        record = json.loads(text)
        process = psutil.Process(record["pid"])
    except (ValueError, KeyError, TypeError, psutil.NoSuchProcess):
        return None
    if start_time(process.pid) != record["started"] or process.status() == psutil.STATUS_ZOMBIE:
        return None
    return process


def start_time(pid: int) -> str | None:
    """Return the boot id, and the tick at which the process started. A change of the clock alters neither."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return f"{boot}:{fields[19]}"


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}
