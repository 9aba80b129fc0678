"""Checks or converts the file of the task that the command line names."""

import ctypes
from pathlib import Path
from typing import Any

from worker.process.limits import limit_memory
from worker.tasks.datasets.checking import check_file
from worker.tasks.datasets.converting import convert_file
from worker.tasks.frame.process import Do, run_task
from worker.tasks.frame.work import Work

MOST_MEMORY = 4 * 1024**3  # beyond what the process has at its start
M_MMAP_THRESHOLD, LARGE = -3, 1024**2  # of glibc's malloc.h, and bytes
DONE_BY: dict[str, Do] = {"check": check_file, "conversion": convert_file}


def main() -> None:
    """Do it, or say in the database why it cannot be done."""
    limit_memory(MOST_MEMORY)
    _give_back_large_blocks()
    run_task(do_task)


def _give_back_large_blocks() -> None:
    """Have each large block given back to the system as soon as it is freed.

    By default, glibc keeps many of them: 30 MB at the end of a check of 500,000 rows.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE)


def do_task(work: Work, folder: Path) -> Any:
    """Do a task of any kind that this package does, and return its report."""
    return DONE_BY[work.task.kind](work, folder)


if __name__ == "__main__":
    main()
