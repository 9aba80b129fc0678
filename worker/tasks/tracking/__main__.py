"""Reports one job to one tracker, in a process of its own: `python -m worker.tasks.tracking JOB TYPE HOLDER`.

A tracker's library that hangs, leaks or breaks harms only this process. Secrets come from the database, and
appear neither on the command line nor in the log.
"""

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from math import isfinite
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core import artifacts
from core.artifacts import LONGEST_REQUEST, Owner
from core.database import create_database, session_factory
from core.ids import new_id
from core.jobs import lifecycle
from core.process.logs import configure_logs
from core.secrets.vault import Vault
from core.settings import Settings
from core.statuses import ENDED
from core.storage.object_store import ObjectStore, file_key
from core.tables import File, Job, Secret
from worker.process.stop_requests import at_end_of_worker, at_signal
from worker.tasks.tracking import lease as leases
from worker.tasks.tracking.lease import TrackerLease, TrackerLeaseLost
from worker.tasks.tracking.sinks import PROJECT_SECRETS, Sink, TrackedJob, TrackerRefused, open_sink

POLL_SECONDS = 1.0
MAX_REASON = 300  # characters

log = structlog.get_logger()


class Reporting:
    """Reports a job's steps to its tracker until the job ends or pauses, or this process is stopped."""

    def __init__(
        self, settings: Settings, sessions: sessionmaker[Session], store: ObjectStore, lease: TrackerLease
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._lease = lease
        self._stopping = threading.Event()
        self._secrets: dict[str, str] = {}

    def stop(self) -> None:
        """Let `run` return soon, and let another process continue."""
        self._stopping.set()

    def run(self) -> None:
        """Report until there is nothing left to report.

        An error is written to the database, for the job's client and for the process that tries next.
        """
        try:
            self._report()
        except (TrackerLeaseLost, SQLAlchemyError) as error:  # the lease runs out without us
            log.warning("tracking_ended", job=self._lease.job_id, tracker=self._lease.type, error=str(error))
        except TrackerRefused as error:
            self._write(leases.refuse, str(error))
        except Exception as error:
            reason = self._without_secrets(f"{type(error).__name__}: {error}")
            log.warning("tracking_failed", job=self._lease.job_id, tracker=self._lease.type, reason=reason)
            self._write(leases.fail, reason)

    def _report(self) -> None:
        tracked, reported = self._load()
        sink = open_sink(self._lease.type, tracked)
        self._announce(sink)
        sent = reported if sink.keeps_steps else 0  # the last step that this process need not send
        while True:
            with self._sessions.begin() as session:
                backlog = leases.renew(session, self._lease, reported=reported, after=sent)
            for step, data in backlog.points:
                sink.log(step, _values(data))
                sent = step
            reported = max(reported, sent)
            if backlog.points:
                continue
            if backlog.status in ENDED:
                self._end(sink.end(backlog.status), tracked.job)
                return
            if backlog.status != "running" or self._stopping.wait(POLL_SECONDS):
                sink.end(None)
                with self._sessions.begin() as session:
                    leases.give_back(session, self._lease)
                return

    def _load(self) -> tuple[TrackedJob, int]:
        """Return the job and the last step that was reported. Raises UnreadableSecret."""
        vault = Vault.of(self._settings.secret_keys)
        with self._sessions.begin() as session:
            reported = leases.reported_step(session, self._lease)
            job = session.get_one(Job, self._lease.job_id)
            for name in PROJECT_SECRETS[self._lease.type]:
                if (secret := session.get(Secret, (job.project_id, name))) is not None:
                    self._secrets[name] = vault.open(secret.sealed)
        asked = next(entry for entry in job.integrations if entry["type"] == self._lease.type)
        folder = self._settings.home / "tracking" / self._lease.type
        uris = self._settings.offered_mlflow_uris
        return TrackedJob(job, asked, self._secrets, folder.resolve(), uris), reported

    def _announce(self, sink: Sink) -> None:
        """Tell the job's client where the run is."""
        if sink.location is None:
            return
        # Every process that reports the job makes the same id, so the job gets one event.
        digest = hashlib.sha256(f"{self._lease.job_id} {self._lease.type}".encode()).hexdigest()[:32]
        with self._sessions.begin() as session:
            message = f"The job is reported to {self._lease.type}: {sink.location}"
            event_id = f"ftevent-{digest}"
            lifecycle.record_outside_event(session, self._lease.job_id, message, event_id=event_id)

    def _end(self, result: Path | None, job: Job) -> None:
        """Write that all is reported. Store `result` as a result file of the job, if there is one."""
        file = self._store_file(result, job) if result else None
        with self._sessions.begin() as session:
            leases.end(session, self._lease)
            if file is not None:
                session.add(file)
                session.flush()
                artifacts.keep(session, file.object_key, file.bytes)
                session.get_one(Job, job.id).tensorboard_file_id = file.id

    def _store_file(self, result: Path, job: Job) -> File:
        content = result.read_bytes()
        file_id = new_id("file-")
        key = file_key(job.project_id, file_id)
        with self._sessions.begin() as session:
            leases.reported_step(session, self._lease)  # raises TrackerLeaseLost
            artifacts.open(session, Owner("file", file_id), key, job.project_id, lasts=LONGEST_REQUEST)
        self._store.put_bytes(key, content)
        return File(
            id=file_id,
            project_id=job.project_id,
            filename=result.name,
            purpose="fine-tune-results",
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            object_key=key,
        )

    def _write(self, write: Callable[[Session, TrackerLease, str], None], reason: str) -> None:
        try:
            with self._sessions.begin() as session:
                write(session, self._lease, reason)
        except (TrackerLeaseLost, SQLAlchemyError) as error:
            log.warning("tracking_end_not_written", job=self._lease.job_id, error=str(error))

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets.values():
            text = text.replace(secret, "***")
        return text[:MAX_REASON]


def _values(data: dict[str, Any]) -> dict[str, float]:
    """Return the measured numbers of a step, without `step` and `total_steps`."""
    return {
        name: value
        for name, value in data.items()
        if isinstance(value, int | float) and isfinite(value) and name not in ("step", "total_steps")
    }


def main() -> None:
    """Report until there is nothing left to report, or until SIGTERM or the end of the standard input."""
    settings = Settings()
    configure_logs(settings.log_level, settings.log_json)
    sessions = session_factory(create_database(settings.server("database_url"), pool_size=1))
    store = ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))
    delete_credentials()
    reporting = Reporting(settings, sessions, store, TrackerLease(*sys.argv[1:4]))
    at_signal(signal.SIGTERM, reporting.stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    at_end_of_worker(reporting.stop)
    reporting.run()


def delete_credentials() -> None:
    """Delete Tunery's settings and the store's keys from the environment.

    The database and the store are open by then. The tracker's library, and processes that it starts, must not
    get the credentials.
    """
    settings = {f"TUNERY_{name.upper()}" for name in Settings.model_fields}
    for name in list(os.environ):
        if name in settings or name.startswith("AWS_"):
            del os.environ[name]


if __name__ == "__main__":
    main()
