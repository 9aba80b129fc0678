"""Reports a job's steps to its tracker, from the metrics in the database, for as long as the job lives."""

import hashlib
import os
import shutil
from math import isfinite
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.errors import JobError
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.integrations import INTEGRATION, PROJECT_SECRETS, receiver_of
from core.secrets.hosts import refusal
from core.secrets.vault import Vault
from core.settings import Settings
from core.statuses import ENDED
from core.tables import File, Job, Metric, Secret, Task
from core.work import lease as leases
from core.work.lease import TaskLeaseLost
from core.work.tracking import TrackingReport, TrackingRequest
from worker.tasks.frame.work import GaveWay, TryFailed, Work
from worker.tasks.tracking.sinks import Sink, TrackedJob, TrackerRefused, open_sink

POLL_SECONDS = 1.0
MAX_REASON = 300  # characters
MAX_POINTS = 100  # the most steps between two signs of progress: MLflow needs a request for each step


def report_job(work: Work, folder: Path) -> TrackingReport:
    """Report the job until it ends, and write the tracker's result into the folder, if it has one.

    Raises JobError if the tracker cannot work as it is set, TryFailed for any other fault of the tracker,
    and GaveWay once the job pauses or this process is told to stop.
    """
    _delete_credentials()
    reporting = _Reporting(work)
    try:
        return reporting.report(folder)
    except (TaskLeaseLost, SQLAlchemyError, GaveWay):
        raise
    except TrackerRefused as error:
        raise JobError("tracker_refused", str(error)) from error
    except Exception as error:
        raise TryFailed(reporting.without_secrets(f"{type(error).__name__}: {error}")) from error


def name_result(session: Session, work: Work) -> None:
    """Have the job name the tracker's result among its files."""
    if isinstance(work.made, File):
        session.get_one(Task, work.lease.task_id, with_for_update=True)  # before the job, as whoever ends it
        session.add(work.made)
        session.flush()
        session.get_one(Job, work.task.job_id).tensorboard_file_id = work.made.id


class _Reporting:
    """The report of one job to one tracker."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._request: TrackingRequest = work.request
        self._secrets: dict[str, str] = {}

    def report(self, folder: Path) -> TrackingReport:
        """Report until there is nothing left to report. Raises GaveWay, and any error of the library."""
        tracked, reported = self._load()
        sink = open_sink(self._request.type, tracked)
        self._announce(sink)
        sent = reported if sink.keeps_steps else 0  # the last step that this process need not send
        while True:
            status, points = self._backlog(sent)
            for step, data in points:
                sink.log(step, _values(data))
                sent = step
            self._work.advance()
            if points:
                if sent > reported:  # steps that were reported before are no sign that the tracker works
                    reported = sent
                    self._note(reported)
            elif status in ENDED:
                self._keep(sink.end(status), folder)
                return TrackingReport(reported_step=reported)
            elif status != "running" or self._work.stopping.wait(POLL_SECONDS):
                sink.end(None)
                raise GaveWay("the job pauses, or the worker stops")

    def without_secrets(self, text: str) -> str:
        for secret in self._secrets.values():
            text = text.replace(secret, "***")
        return text[:MAX_REASON]

    def _load(self) -> tuple[TrackedJob, int]:
        """Return the job and the last step that was reported. Raises UnreadableSecret and TrackerRefused."""
        settings, task = self._work.settings, self._work.task
        name = PROJECT_SECRETS.get(self._request.type)
        with self._work.sessions() as session:
            job = session.get_one(Job, task.job_id)
            secret = session.get(Secret, (job.project_id, name)) if name is not None else None
        asked = next(entry for entry in job.integrations if entry["type"] == self._request.type)
        if secret is not None:
            to = receiver_of(INTEGRATION.validate_python(asked), settings.offered_mlflow_uris)
            if to is not None and (reason := refusal(secret, to)) is not None:
                raise TrackerRefused(reason)
            self._secrets[secret.name] = Vault.of(settings.secret_keys).open(secret.sealed)
        folder = settings.home / "tracking" / self._request.type
        tracked = TrackedJob(job, asked, self._secrets, folder.resolve(), settings.offered_mlflow_uris)
        return tracked, TrackingReport.model_validate(task.report or {}).reported_step

    def _backlog(self, after: int) -> tuple[str, list[tuple[int, dict[str, Any]]]]:
        """Return the job's status, and the metrics of the steps to report next, the oldest first.

        The status is read before the steps. So if it says that the job has ended, all steps are written.
        """
        job_id = self._work.task.job_id
        with self._work.sessions() as session:
            status = session.scalars(select(Job.status).where(Job.id == job_id)).one()
            query = select(Metric).where(Metric.job_id == job_id, Metric.step > after)
            metrics = session.scalars(query.order_by(Metric.step).limit(MAX_POINTS))
            return status, [(metric.step, metric.data) for metric in metrics]

    def _note(self, reported: int) -> None:
        report = TrackingReport(reported_step=reported).model_dump()
        with self._work.sessions.begin() as session:
            leases.note(session, self._work.lease, report)

    def _announce(self, sink: Sink) -> None:
        """Tell the job's client where the run is."""
        if sink.location is None:
            return
        job_id = str(self._work.task.job_id)
        # Every process that reports the job makes the same id, so the job gets one event.
        digest = hashlib.sha256(f"{job_id} {self._request.type}".encode()).hexdigest()[:32]
        with self._work.sessions.begin() as session:
            message = f"The job is reported to {self._request.type}: {sink.location}"
            lifecycle.record_outside_event(session, job_id, message, event_id=f"ftevent-{digest}")

    def _keep(self, result: Path | None, folder: Path) -> None:
        """Make a result file of the job of what the tracker has left."""
        if result is None:
            return
        shutil.copyfile(result, folder / result.name)
        self._work.made = File(
            id=new_id("file-"),
            project_id=self._work.task.project_id,
            filename=result.name,
            purpose="fine-tune-results",
        )


def _values(data: dict[str, Any]) -> dict[str, float]:
    """Return the measured numbers of a step, without `step` and `total_steps`."""
    return {
        name: value
        for name, value in data.items()
        if isinstance(value, int | float) and isfinite(value) and name not in ("step", "total_steps")
    }


def _delete_credentials() -> None:
    """Delete Tunery's settings and the store's keys from the environment.

    The database and the store are open by then. The tracker's library, and processes that it starts, must not
    get the credentials.
    """
    settings = {f"TUNERY_{name.upper()}" for name in Settings.model_fields}
    for name in list(os.environ):
        if name in settings or name.startswith("AWS_"):
            del os.environ[name]
