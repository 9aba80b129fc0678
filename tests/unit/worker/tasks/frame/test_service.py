"""The processes that a worker holds are ended when it stops, also while the database is away."""

import subprocess
import sys
from signal import SIGTERM

from structlog.testing import capture_logs

from core.database import create_database, session_factory
from tests.fixtures.service.api import wait_for
from worker.tasks.frame.service import Tasks

SLEEP = "import time; time.sleep(600)"


class Held(Tasks):
    """Holds processes that run the given programs."""

    def hold(self, program: str) -> "subprocess.Popen[bytes]":
        process = self._processes[program] = subprocess.Popen([sys.executable, "-c", program])
        return process


def test_a_worker_that_stops_without_a_database_ends_its_processes(closed_port: int) -> None:
    nowhere = session_factory(create_database(f"postgresql://nobody@127.0.0.1:{closed_port}/none"))
    held = Held(nowhere, 2, ["export"])
    has_ended, lives = held.hold("pass"), held.hold(SLEEP)
    wait_for(lambda: has_ended.poll() is not None)
    held.start()
    with capture_logs() as logs:
        held.stop()
    assert lives.returncode == -SIGTERM
    assert {entry["event"] for entry in logs} >= {"tick_failed"}
