"""Programs that are started again whenever they end, as an init system does."""

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Popen = Callable[..., "subprocess.Popen[Any]"]
LOOK_SECONDS = 0.2
RESTART_SECONDS = 1.0
STOP_SECONDS = 120.0


class Program:
    """A `tunery` command with its log."""

    def __init__(
        self, name: str, words: Sequence[str], environment: Mapping[str, str], folder: Path, popen: Popen
    ) -> None:
        self.name = name
        self.ends: Counter[int] = Counter()
        """How often it has ended, by exit status"""
        self._command = [sys.executable, "-m", "cli.main", *words]
        self._environment, self._folder, self._popen = environment, folder, popen
        self._process: subprocess.Popen[Any] | None = None

    @property
    def ends_by_status(self) -> dict[str, int]:
        return {str(status): count for status, count in sorted(self.ends.items())}

    def start(self) -> None:
        log = self._folder / f"{self.name}.log"
        with log.open("ab") as out:
            self._process = self._popen(
                self._command,
                env=dict(self._environment),
                cwd=str(self._folder),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def has_ended(self) -> bool:
        """Whether it does not run. Counts its end."""
        if self._process is None:
            return True
        code = self._process.poll()
        if code is None:
            return False
        self.ends[code] += 1
        self._process = None
        return True

    def stop(self) -> None:
        """Send SIGTERM as an operator does, and wait. Send SIGKILL after STOP_SECONDS."""
        process = self._process
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Keeper:
    """A thread that starts programs again when they have ended. Stops them after its block."""

    def __init__(self, programs: Sequence[Program]) -> None:
        self._programs = programs
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper", daemon=True)

    def __enter__(self) -> Self:
        for program in self._programs:
            program.start()
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop all programs in order, and start none again."""
        self._over.set()
        self._thread.join()
        for program in self._programs:
            program.stop()

    def _keep(self) -> None:
        due: dict[str, float] = {}
        while not self._over.wait(LOOK_SECONDS):
            for program in self._programs:
                if not program.has_ended():
                    due.pop(program.name, None)
                elif time.monotonic() >= due.setdefault(program.name, time.monotonic() + RESTART_SECONDS):
                    program.start()
