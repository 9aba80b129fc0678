"""The parts of the service as child processes of `up`: started, watched, started again, stopped.

Each child leads a session of its own, so that the terminal's Ctrl-C reaches `up` alone, and is written down
in HOME/run with its start time. All its descendants carry a mark in their environment. So an `up` that
follows one which was killed finds what it left: a leader by pid and start time, the others by the mark.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from cli.errors import GaveUp
from cli.home import Home, read
from cli.output import note
from core.private_files import write_private

MARK = "TUNERY_PART_OF"  # of the environment; its value is the state folder

# Deaths in a row, each within QUICK_SECONDS of its start, after which `up` gives up.
MAX_QUICK_DEATHS = 5
QUICK_SECONDS = 60.0
FIRST_DELAY = 0.5
LONGEST_DELAY = 30.0

# The exit code of a ConfigurationError: another start would end in the same way.
MISCONFIGURED = 2
TAIL_LINES = 15
POLL_SECONDS = 0.05


class Child:
    """One part. `grace` is how many seconds it may take to stop by itself."""

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
        self._started = 0.0
        self._quick_deaths = 0
        self._next_start = 0.0

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
        self._started = time.monotonic()
        write_record(self._record, self._process.pid)

    def tend(self) -> None:
        """Start the part again where it has died, after a growing delay. Raises GaveUp."""
        if self._process is None:
            if time.monotonic() >= self._next_start:
                self.start()
            return
        code = self._process.poll()
        if code is not None:
            self._process = None
            kill(marked(self._mark))
            self._plan_restart(code)

    def stop(self, hurried: Callable[[], bool] = lambda: False) -> None:
        """SIGTERM, then SIGKILL for whatever is left when the grace is over or `hurried` turns true."""
        if (process := self._process) is not None:
            process.terminate()
            deadline = time.monotonic() + self._grace
            while process.poll() is None and not hurried() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if process.poll() is None:
                note(f"The {self.name} has not stopped by itself; killing it", "yellow")
                process.kill()
            process.wait()
            self._process = None
        kill(marked(self._mark))
        self._record.unlink(missing_ok=True)

    def _plan_restart(self, code: int) -> None:
        quick = time.monotonic() - self._started < QUICK_SECONDS
        self._quick_deaths = self._quick_deaths + 1 if quick else 1
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        if code == MISCONFIGURED or self._quick_deaths > MAX_QUICK_DEATHS:
            times = f", {self._quick_deaths} times in a row" if self._quick_deaths > 1 else ""
            raise GaveUp(f"The {self.name} died ({cause}{times}). Its log {self.log} ends:\n{tail(self.log)}")
        delay = min(LONGEST_DELAY, FIRST_DELAY * 2 ** (self._quick_deaths - 1))
        self._next_start = time.monotonic() + delay
        note(
            f"The {self.name} died ({cause}); starting it again in {delay:g} s. Its log: {self.log}", "yellow"
        )


def mark(home: Home, name: str) -> str:
    return f"{name}@{home.path}"


def marked(value: str) -> list[psutil.Process]:
    """The processes that a part has started, or is."""
    return [process for process in psutil.process_iter() if _environment(process).get(MARK) == value]


def stop_leftovers(home: Home, names: Sequence[str], grace: float) -> None:
    """End what an earlier `up` of this state folder left running. The caller holds the folder's lock."""
    for name in names:
        path = home.run / f"{name}.json"
        leader = read_record(path)
        if leader is not None:
            note(f"Stopping the {name} (pid {leader.pid}) that an earlier `tunery up` left running")
            with suppress(psutil.NoSuchProcess):
                leader.terminate()
            psutil.wait_procs([leader], timeout=grace)
            kill([leader])
        kill(marked(mark(home, name)))
        path.unlink(missing_ok=True)


def kill(processes: Sequence[psutil.Process]) -> None:
    """SIGKILL, and wait until they are gone."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=10)


def write_record(path: Path, pid: int) -> None:
    write_private(path, json.dumps({"pid": pid, "started": start_time(pid)}))


def read_record(path: Path) -> psutil.Process | None:
    """The process written down in `path`, where that very process still runs."""
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
    """Boot and clock tick at which the process started: unlike a date, no change of the clock moves it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return f"{boot}:{fields[19]}"


def tail(path: Path) -> str:
    """The last lines of a log."""
    with path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - 64 * 1024))
        return "\n".join(file.read().decode("utf-8", "replace").splitlines()[-TAIL_LINES:])


def rotate(path: Path) -> None:
    """Put the log of the run before aside."""
    if path.exists():
        path.replace(path.with_suffix(".log.1"))


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.Error, OSError):
        return {}
