"""The processes of a worker are behind the training, and end when it stops, also without a database."""

import os
import subprocess
import sys
import time
from pathlib import Path
from signal import SIGTERM

import pytest
from structlog.testing import capture_logs

from core.database import create_database, session_factory
from core.work.lease import TaskLease
from tests.fixtures.service.api import wait_for
from worker.tasks.frame.service import Tasks

SLEEP = "import time; time.sleep(600)"


class Held(Tasks):
    """Holds processes that run the given programs."""

    def hold(self, program: str) -> "subprocess.Popen[bytes]":
        process = self._processes[program] = subprocess.Popen([sys.executable, "-c", program])
        self._begun[program] = "export", time.monotonic()
        return process

    def begin(self) -> "subprocess.Popen[bytes]":
        """Start a process for a task."""
        process = self._processes["begun"] = self._start(TaskLease("export-1", 1, "begun"), {})
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


@pytest.mark.parametrize("niceness", [10, 19])
def test_the_process_of_a_task_is_behind_the_training_from_its_start(closed_port: int, niceness: int) -> None:
    nowhere = session_factory(create_database(f"postgresql://nobody@127.0.0.1:{closed_port}/none"))
    held = Held(nowhere, 1, ["export"], niceness=niceness)
    held.start()
    task = held.begin().pid
    try:
        assert os.getsid(task) == task
        assert os.getpriority(os.PRIO_PROCESS, task) == niceness
        assert Path(f"/proc/{task}/oom_score_adj").read_text() == "1000\n"
        if (group := Path(f"/proc/{task}/autogroup")).exists():
            assert group.read_text().split()[1:] == ["nice", str(niceness)]
    finally:
        held.stop()
