"""Runs server programs as child processes: sets them up, starts them, waits for their answer, stops them.

The next owner of a folder finds the servers that a killed owner has left, by their name and working folder.
So it also finds the backends of a killed Postgres.
"""

import os
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar

import psutil

from cli.child import Child, limit, wait_until
from core.errors import ConfigurationError

HOST = "127.0.0.1"
LOG_LINES_SHOWN = 15
OWN_SERVERS = (
    "name servers of your own with TUNERY_DATABASE_URL, TUNERY_BROKER_URL, TUNERY_S3_ENDPOINT_URL and "
    "TUNERY_S3_BUCKET."
)


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
    start_seconds: float = 60
    stop_seconds: ClassVar[float] = 10

    def __init__(self, home: Path) -> None:
        self.directory = (home / self.name).resolve()
        self.log = home / "logs" / f"{self.name}.log"
        self._title = f"The embedded server {self.name!r}"
        self._record = home / "run" / f"{self.name}.json"
        self._child = Child(self._title, self.log, self._record, self._works_here, self.stop_signal)

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
    def exit_code(self) -> int | None:
        """`Popen.returncode` once the server has ended, None before."""
        return self._child.exit_code

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
        """Ask the server to end, and kill what runs after `stop_seconds`, whoever started it."""
        is_late = limit(self.stop_seconds)
        self._child.ask_to_end(is_late)
        self._child.end(is_late)

    def kill(self) -> None:
        """Kill all processes of this server at once, as a crash would; nothing is tidied up."""
        self._child.kill()

    def _launch(self, abandoned: threading.Event) -> None:
        for folder in (self.directory, self._record.parent, self.log.parent):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        self.prepare()
        if abandoned.is_set():
            raise self._failure("was not started, because another server failed.")
        self._child.start(self.command(), self._environment, self.directory)
        self._wait_for_answer(abandoned)

    def _run(self, command: list[str]) -> None:
        """Run a helper of the server to its end. Its output goes to the log."""
        helper = self._child.spawn(command, self._environment, self.directory)
        try:
            failed = helper.wait(self.start_seconds) != 0
        except subprocess.TimeoutExpired:
            failed = True
        if failed:
            raise self._failure(f"could not be set up: {' '.join(command)} failed.")

    @property
    def _environment(self) -> dict[str, str]:
        """Without the operator's variables: their credentials and proxies are meant for other programs."""
        return {"PATH": os.defpath, "HOME": str(self.directory), "LC_ALL": "C", **self.environment}

    def _wait_for_answer(self, abandoned: threading.Event) -> None:
        last: Exception | None = None

        def answered() -> bool:
            nonlocal last
            if self.exit_code is not None:
                raise self._failure("ended while it was starting.")
            if abandoned.is_set():
                raise self._failure("was given up, because another server failed.")
            try:
                self.probe()
            except self.unready as error:
                last = error
                return False
            return True

        if not wait_until(answered, limit(self.start_seconds)):
            raise self._failure(f"did not answer within {self.start_seconds:g} s ({last}).")

    def _failure(self, what: str) -> ConfigurationError:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        shown = "\n".join(f"  {line}" for line in lines[-LOG_LINES_SHOWN:]) or "  (nothing)"
        return ConfigurationError(
            f"{self._title} {what} Its log, {self.log}, ends with:\n{shown}\n"
            f"Remove the cause and start again, or {OWN_SERVERS}"
        )

    def _works_here(self, process: psutil.Process) -> bool:
        return process.name() in self.programs and Path(process.cwd()).is_relative_to(self.directory)
