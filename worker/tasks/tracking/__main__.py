"""Reports the job of the task that the command line names to one tracker.

A tracker's library that hangs, leaks or breaks harms only this process. Secrets come from the database, and
appear neither on the command line nor in the log.
"""

import os

from worker.tasks.frame.process import run_task
from worker.tasks.tracking.reporting import name_result, report_job

# A job reports with the secrets of its project, never with the worker's own credentials.
OWN_CREDENTIALS = (
    "HF_TOKEN",
    "NETRC",
    "WANDB_API_KEY",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
)
# The libraries send no telemetry, and no library waits for its server longer than a process may hang.
LIBRARY_ENVIRONMENT = {
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "WANDB_ERROR_REPORTING": "false",
}


def main() -> None:
    """Report until the job ends or pauses, or until this process is told to stop."""
    for name in OWN_CREDENTIALS:
        os.environ.pop(name, None)
    for name, value in LIBRARY_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    run_task(report_job, conclude=name_result, ends_itself=True)


if __name__ == "__main__":
    main()
