"""What the kernel gives to a process that was put behind another one, which leads a session of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fixtures.service.api import wait_for
from worker.process.priority import put_behind

SPIN = "import os, sys; sys.stdin.readline(); os.fork()\nwhile True: pass"
CALL = """
import os, sys
from worker.process.priority import put_behind
put_behind(os.getpid(), os.nice(0) + 5, 500)
print(os.nice(0), open("/proc/self/oom_score_adj").read(), open("/proc/self/autogroup").read().split()[-1])
"""


def _autogroup() -> list[str]:
    """Return the words on this session's group: none in a container, whose file is empty."""
    path = Path("/proc/self/autogroup")
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def spinning() -> "Iterator[list[subprocess.Popen[bytes]]]":
    """Two processes in sessions of their own. Told by a line, each starts another, to compute on one core."""
    core = min(os.sched_getaffinity(0))
    command = [sys.executable, "-c", SPIN]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) for _ in range(2)]
    for process in started:
        os.sched_setaffinity(process.pid, {core})
    yield started
    for process in started:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def computed(leader: int) -> float:
    """Return the seconds of the processor that a process and its children have had."""
    members = [psutil.Process(leader), *psutil.Process(leader).children()]
    return sum(each.cpu_times().user + each.cpu_times().system for each in members)


def test_a_session_that_was_put_behind_gets_nearly_nothing_of_a_core_that_another_one_wants(
    spinning: "list[subprocess.Popen[bytes]]",
) -> None:
    before, behind = (process.pid for process in spinning)
    put_behind(behind, 19, 1000)
    for process in spinning:
        assert process.stdin is not None
        process.stdin.write(b"compute\n")
        process.stdin.flush()
    began = computed(before), computed(behind)
    wait_for(lambda: computed(before) > began[0] + 2.0, 120)
    assert computed(behind) - began[1] < 0.2


@pytest.mark.skipif(not _autogroup(), reason="sessions are not grouped here")
def test_a_process_that_leads_no_session_leaves_the_share_of_its_session_as_it_is() -> None:
    told = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True, check=True)
    assert told.stdout.split() == [str(os.nice(0) + 5), "500", _autogroup()[-1]]
