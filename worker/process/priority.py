"""Puts a process behind others: when cores are short, and when the machine's memory runs out."""

import os
import time
from contextlib import suppress
from pathlib import Path

TRIES, AGAIN_SECONDS = 20, 0.1  # the kernel takes one change of a session's share in a tenth of a second


def put_behind(process: int, niceness: int, first_to_be_killed: int) -> None:
    """Lower the priority of a process that has one thread, and of all that it starts later.

    A kernel that groups processes by their sessions (`sched_autogroup_enabled`, see sched(7)) divides cores
    between the sessions first, so a niceness counts within one session only. Then the niceness of a process
    that leads a session becomes that of the session too. In a container or a service of systemd there are
    no such groups, and the niceness of each process counts.

    `first_to_be_killed` is its `oom_score_adj`: of 1,000, the system kills it before any other process.
    """
    with suppress(OSError):  # it has ended
        behind = max(niceness, os.getpriority(os.PRIO_PROCESS, process))
        os.setpriority(os.PRIO_PROCESS, process, behind)
    _write(process, "oom_score_adj", first_to_be_killed)
    with suppress(OSError):
        if os.getsid(process) == process:
            _write(process, "autogroup", niceness)


def _write(process: int, name: str, value: int) -> None:
    """Write a property of a process, if the system has it and lets us."""
    for _ in range(TRIES):
        try:
            with Path(f"/proc/{process}/{name}").open("wb", buffering=0) as file:
                if file.write(str(value).encode()) is not None:
                    return
        except OSError:
            return
        time.sleep(AGAIN_SECONDS)
