"""MLflow: one run for a job, found again by its tag after a resume."""

import os
import time
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from worker.tracking.sinks import Report, TrackerRefused

JOB_TAG = "tunery.job_id"
MAX_PARAM = 500  # characters; older servers take no more
ENDS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


class MlflowRun:
    remembers = True

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self._id = run.info.run_id
        self.place = f"run {self._id}"

    def log(self, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def end(self, status: str | None) -> None:
        if status is not None:
            self._client.set_terminated(self._id, ENDS[status])


def open_run(report: Report) -> MlflowRun:
    """Raises TrackerRefused where the operator does not offer the server that the job names any more."""
    asked = report.settings["mlflow"]
    uri = asked.get("tracking_uri") or next(iter(report.mlflow_uris), None)
    if uri not in report.mlflow_uris:
        raise TrackerRefused("the worker's TUNERY_MLFLOW_TRACKING_URIS does not name the job's tracking_uri")
    # Read at every request: the token, and files of the account's home with passwords of the worker's own
    os.environ.update(report.secrets | {"HOME": str(report.folder)})
    client = MlflowClient(tracking_uri=uri)
    experiment = _experiment(client, asked["experiment"])
    run = _run_of_an_earlier_process(client, experiment, report.job.id)
    if run is None:
        tags = (asked.get("tags") or {}) | {JOB_TAG: report.job.id}
        run = client.create_run(experiment, run_name=asked.get("run_name") or report.job.id, tags=tags)
        params = [Param(name, value[:MAX_PARAM]) for name, value in _flat(report.config)]
        client.log_batch(run.info.run_id, params=params, tags=[RunTag(tag, "true") for tag in report.tags])
    return MlflowRun(client, run)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another job made it first
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def _run_of_an_earlier_process(client: MlflowClient, experiment: str, job_id: str) -> Run | None:
    found = client.search_runs([experiment], filter_string=f"tags.`{JOB_TAG}` = '{job_id}'", max_results=1)
    return found[0] if found else None


def _flat(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested names joined by dots: MLflow's parameters are flat, and text."""
    pairs: list[tuple[str, str]] = []
    for name, value in config.items():
        inner = isinstance(value, dict)
        pairs += _flat(value, f"{prefix}{name}.") if inner else [(f"{prefix}{name}", str(value))]
    return pairs
