"""The processes that a worker holds are ended when it stops, also while the database is away."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from signal import SIGTERM

from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from core.database import create_database, session_factory
from tests.fixtures.service.api import wait_for
from worker.process.held_processes import HeldProcesses

SLEEP = "import time; time.sleep(600)"


class Held(HeldProcesses[str]):
    """Holds processes that run the given program. Each of its questions needs the database."""

    def _take(self, session: Session, *_: object) -> str | None:
        session.connection()
        return None

    def _holding(self, session: Session, *_: object) -> set[str | None]:
        session.connection()
        return set()

    def _ended(self, session: Session, *_: object) -> None:
        session.connection()

    def _command(self, lease: str) -> Sequence[str]:
        return sys.executable, "-c", lease

    def _environment(self) -> Mapping[str, str]:
        return os.environ

    def hold(self, program: str) -> "subprocess.Popen[bytes]":
        process = self._processes[program] = self._start(program)
        return process


def test_a_worker_that_stops_without_a_database_ends_its_processes(closed_port: int) -> None:
    nowhere = session_factory(create_database(f"postgresql://nobody@127.0.0.1:{closed_port}/none"))
    held = Held("held", nowhere, 2)
    has_ended, lives = held.hold("pass"), held.hold(SLEEP)
    wait_for(lambda: has_ended.poll() is not None)
    held.start()
    with capture_logs() as logs:
        held.stop()
    assert lives.returncode == -SIGTERM
    assert {entry["event"] for entry in logs} >= {"tick_failed"}
