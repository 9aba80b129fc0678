"""MLflow: each job has one run, which a later process finds by its tag."""

import os
import time
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from worker.tasks.tracking.sinks import TrackedJob, TrackerRefused

JOB_TAG = "tunery.job_id"
MAX_PARAM = 500  # characters: the limit of older servers
ENDS = {"succeeded": "FINISHED", "failed": "FAILED", "cancelled": "KILLED"}


class MlflowRun:
    keeps_steps = True

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self._id = run.info.run_id
        self.location = f"run {self._id}"

    def log(self, step: int, values: dict[str, float]) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, step) for name, value in values.items()]
        self._client.log_batch(self._id, metrics=metrics)

    def end(self, status: str | None) -> None:
        if status is not None:
            self._client.set_terminated(self._id, ENDS[status])


def open_run(tracked: TrackedJob) -> MlflowRun:
    """Open the job's run. Raises TrackerRefused if the operator no longer offers the job's server."""
    asked = tracked.settings["mlflow"]
    uri = asked.get("tracking_uri") or next(iter(tracked.mlflow_uris), None)
    if uri not in tracked.mlflow_uris:
        raise TrackerRefused("the worker's TUNERY_MLFLOW_TRACKING_URIS does not name the job's tracking_uri")
    # MLflow reads both at every request: the token, and files in HOME. The real HOME may have the
    # worker's passwords.
    os.environ.update(tracked.secrets | {"HOME": str(tracked.folder)})
    client = MlflowClient(tracking_uri=uri)
    experiment = _experiment(client, asked["experiment"])
    run = _run_of_an_earlier_process(client, experiment, tracked.job.id)
    if run is None:
        tags = (asked.get("tags") or {}) | {JOB_TAG: tracked.job.id}
        run = client.create_run(experiment, run_name=asked.get("run_name") or tracked.job.id, tags=tags)
        params = [Param(name, value[:MAX_PARAM]) for name, value in _flat(tracked.config)]
        client.log_batch(run.info.run_id, params=params, tags=[RunTag(tag, "true") for tag in tracked.tags])
    return MlflowRun(client, run)


def _experiment(client: MlflowClient, name: str) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    try:
        return str(client.create_experiment(name))
    except MlflowException:  # another job has created it meanwhile
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return str(found.experiment_id)


def _run_of_an_earlier_process(client: MlflowClient, experiment: str, job_id: str) -> Run | None:
    found = client.search_runs([experiment], filter_string=f"tags.`{JOB_TAG}` = '{job_id}'", max_results=1)
    return found[0] if found else None


def _flat(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the settings as names joined by dots, and texts: MLflow's parameters are not nested."""
    pairs: list[tuple[str, str]] = []
    for name, value in config.items():
        inner = isinstance(value, dict)
        pairs += _flat(value, f"{prefix}{name}.") if inner else [(f"{prefix}{name}", str(value))]
    return pairs
