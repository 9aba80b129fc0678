"""Checks or converts the file of the task that the command line names."""

from pathlib import Path
from typing import Any

from core.tasks.lease import DAYS_OF_REPORTS
from worker.datasets.checking import check_file
from worker.datasets.converting import convert_file
from worker.tasks.process import Do, Work, run_task

DONE_BY: dict[str, Do] = {"check": check_file, "conversion": convert_file}


def main() -> None:
    """Do it, or say in the database why it cannot be done."""
    run_task(do_task, lambda _: DAYS_OF_REPORTS)


def do_task(work: Work, folder: Path) -> dict[str, Any]:
    """Do a task of any kind that this package does, and return its report."""
    return DONE_BY[work.task.kind](work, folder)


if __name__ == "__main__":
    main()
