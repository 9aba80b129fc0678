"""What the kernel gives to a process that was put behind another one, which leads a session of its own."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.fixtures.service.api import wait_for
from worker.process.priority import put_behind

SPIN = "while True: pass"
CALL = """
import os, sys
from worker.process.priority import put_behind
put_behind(os.getpid(), os.nice(0) + 5, 500)
print(os.nice(0), open("/proc/self/oom_score_adj").read(), open("/proc/self/autogroup").read().split()[-1])
"""


@pytest.fixture
def spinning() -> Iterator[list[psutil.Process]]:
    """Two processes in sessions of their own that compute for ever, on the same core."""
    core = min(os.sched_getaffinity(0))
    started = [subprocess.Popen([sys.executable, "-c", SPIN], start_new_session=True) for _ in range(2)]
    for process in started:
        os.sched_setaffinity(process.pid, {core})
    yield [psutil.Process(process.pid) for process in started]
    for process in started:
        process.kill()
        process.wait()


def computed(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def test_a_session_that_was_put_behind_gets_nearly_nothing_of_a_core_that_another_one_wants(
    spinning: list[psutil.Process],
) -> None:
    before, behind = spinning
    put_behind(behind.pid, 19, 1000)
    began = [computed(each) for each in spinning]
    wait_for(lambda: computed(before) > began[0] + 1.0, 120)
    assert computed(behind) - began[1] < 0.1


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="needs a kernel with autogroups")
def test_a_process_that_leads_no_session_leaves_the_share_of_its_session_as_it_is() -> None:
    told = subprocess.run([sys.executable, "-c", CALL], capture_output=True, text=True, check=True)
    ours = Path("/proc/self/autogroup").read_text().split()[-1]
    assert told.stdout.split() == [str(os.nice(0) + 5), "500", ours]
