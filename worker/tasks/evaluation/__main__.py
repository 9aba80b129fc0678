"""Does the run of an eval that the command line names."""

from worker.tasks.evaluation.run import judge_run
from worker.tasks.frame.process import run_task

LEAVE_SECONDS = 5.0  # in which servers tell what they have computed, and it is counted


def main() -> None:
    """Do it, or say in the database why it cannot be done. The results are kept until they are deleted."""
    run_task(judge_run, leave_seconds=LEAVE_SECONDS)


if __name__ == "__main__":
    main()
