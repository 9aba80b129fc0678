"""Runs server programs as child processes: starts them, waits for their answer, stops them, finds them again.

A server leads its own session, so that a Ctrl-C in the owner's terminal does not reach it: the owner stops it
in order. An owner that was killed leaves its servers behind. The next owner finds them by the record of their
pid and start time, or by their name and working folder. The latter also finds the backends of a killed
Postgres.
"""

import json
import os
import signal
import subprocess
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psutil

from cli.embedded.private_files import write_private
from core.errors import ConfigurationError

HOST = "127.0.0.1"
POLL_SECONDS = 0.02
KILL_SECONDS = 10
LOG_LINES_SHOWN = 15
OWN_SERVERS = (
    "name servers of your own with TUNERY_DATABASE_URL, TUNERY_BROKER_URL, TUNERY_S3_ENDPOINT_URL and "
    "TUNERY_S3_BUCKET."
)


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return True as soon as `condition` is true, or False if it is not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def package_folder(module: str, package: str) -> Path:
    """Return the folder of a wheel's programs, without importing the package."""
    spec = find_spec(module)
    if spec is None or spec.origin is None:
        raise not_installed(package)
    return Path(spec.origin).parent


def not_installed(package: str) -> ConfigurationError:
    return ConfigurationError(f"{package} is not installed. Install tunery[embedded], or {OWN_SERVERS}")


class Server(ABC):
    """One server under `home`: data in <home>/<name>, log in <home>/logs, process record in <home>/run."""

    name: ClassVar[str]
    programs: ClassVar[frozenset[str]]
    """Process names that belong to this server."""
    environment: ClassVar[dict[str, str]] = {}
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    start_seconds: ClassVar[float] = 60
    stop_seconds: ClassVar[float] = 10

    def __init__(self, home: Path) -> None:
        self.directory = (home / self.name).resolve()
        self.log = home / "logs" / f"{self.name}.log"
        self._record = home / "run" / f"{self.name}.json"
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def prepare(self) -> None:
        """Write the files that the program needs before it starts. No process of this server runs now."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program and its arguments. It runs in `directory`."""

    @property
    @abstractmethod
    def unready(self) -> tuple[type[Exception], ...]:
        """The exceptions that `probe` raises while the server is not ready yet."""

    @abstractmethod
    def probe(self) -> None:
        """Return if the server serves real requests, else raise one of `unready`.

        Its client library is first imported here, so that all servers are under way before the first import.
        """

    @property
    def pid(self) -> int | None:
        """The process id of the server, None if it is not running."""
        return self._process.pid if self._process and self._process.poll() is None else None

    @property
    def exit_code(self) -> int | None:
        """`Popen.returncode` once the server has ended, None before."""
        return self._process.poll() if self._process else None

    def start(self, abandoned: threading.Event | None = None) -> None:
        """Stop processes that an earlier owner left, start the server, and wait until it answers.

        Raises ConfigurationError if there is no answer within `start_seconds`, if the server ends, or if
        `abandoned` is set.
        """
        self.stop()
        try:
            self._launch(abandoned or threading.Event())
        except OSError as error:
            raise self._failure(f"could not be started: {error}.") from error

    def stop(self) -> None:
        """Ask every process of this server to end, and kill those that run after `stop_seconds`."""
        family = self._family()
        pids = {process.pid for process in family}
        for process in family:
            if _parent(process) not in pids:
                _send(process, self.stop_signal)
        if not self._wait_for_end(family, self.stop_seconds):
            self.kill()
        self._record.unlink(missing_ok=True)

    def kill(self) -> None:
        """Kills every process of this server at once, as a crash would; nothing is tidied up."""
        while family := self._family():
            for process in family:
                _send(process, signal.SIGKILL)
            if not self._wait_for_end(family, KILL_SECONDS):
                raise ConfigurationError(f"{self._title} cannot be killed; is its disk responding?")

    @property
    def _title(self) -> str:
        return f"The embedded server {self.name!r}"

    def _launch(self, abandoned: threading.Event) -> None:
        for folder in (self.directory, self.log.parent, self._record.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        self.prepare()
        if abandoned.is_set():
            raise self._failure("was not started, because another server failed.")
        self._process = self._spawn(self.command())
        started = {"pid": self._process.pid, "created": psutil.Process(self._process.pid).create_time()}
        write_private(self._record, json.dumps(started))
        self._wait_for_answer(abandoned)

    def _run(self, command: list[str]) -> None:
        """Run a helper of the server to its end. Its output goes to the log."""
        helper = self._spawn(command)
        try:
            failed = helper.wait(self.start_seconds) != 0
        except subprocess.TimeoutExpired:
            failed = True
        if failed:
            raise self._failure(f"could not be set up: {' '.join(command)} failed.")

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        # Without the operator's variables: their credentials and proxies are meant for other programs.
        environment = {"PATH": os.defpath, "HOME": str(self.directory), "LC_ALL": "C", **self.environment}
        with self.log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd=self.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _wait_for_answer(self, abandoned: threading.Event) -> None:
        last: Exception | None = None

        def answered() -> bool:
            nonlocal last
            if self.pid is None:
                raise self._failure("ended while it was starting.")
            if abandoned.is_set():
                raise self._failure("was given up, because another server failed.")
            try:
                self.probe()
            except self.unready as error:
                last = error
                return False
            return True

        if not wait_until(answered, self.start_seconds):
            raise self._failure(f"did not answer within {self.start_seconds:g} s ({last}).")

    def _failure(self, what: str) -> ConfigurationError:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        shown = "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:]) or "  (nothing)"
        return ConfigurationError(
            f"{self._title} {what} Its log, {self.log}, ends with:\n{shown}\n"
            f"Remove the cause and start again, or {OWN_SERVERS}"
        )

    def _family(self) -> list[psutil.Process]:
        """Return all living processes of this server, whoever started them."""
        found = {process.pid: process for process in psutil.process_iter() if self._works_here(process)}
        for process in (self._own(), self._recorded()):
            if process is not None:
                found[process.pid] = process
        return [process for process in found.values() if _alive(process)]

    def _works_here(self, process: psutil.Process) -> bool:
        try:
            return process.name() in self.programs and Path(process.cwd()).is_relative_to(self.directory)
        except psutil.Error:  # the process is gone, or belongs to another user
            return False

    def _own(self) -> psutil.Process | None:
        return None if self.pid is None else psutil.Process(self.pid)

    def _recorded(self) -> psutil.Process | None:
        """Return the process of the record, unless its pid now belongs to another process."""
        try:
            record = json.loads(self._record.read_text())
            process = psutil.Process(record["pid"])
            same = abs(process.create_time() - record["created"]) < 1 and process.name() in self.programs
        except (FileNotFoundError, ValueError, psutil.Error):
            return None
        return process if same else None

    def _wait_for_end(self, family: list[psutil.Process], seconds: float) -> bool:
        def ended() -> bool:
            if self._process is not None:
                self._process.poll()  # reaps it
            return not any(_alive(process) for process in family)

        return wait_until(ended, seconds)


def _alive(process: psutil.Process) -> bool:
    """Return False also for a zombie: in a container, nobody may reap the children of a dead owner."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _parent(process: psutil.Process) -> int | None:
    try:
        return process.ppid()
    except psutil.NoSuchProcess:
        return None


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)  # psutil checks first that the pid was not reused
    except psutil.NoSuchProcess:
        pass
    except psutil.AccessDenied:
        raise ConfigurationError(
            f"Process {process.pid} of an earlier run belongs to another user. Stop it, then start again."
        ) from None
