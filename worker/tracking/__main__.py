"""One tracker of one job, in a process of its own: `python -m worker.tracking JOB TYPE HOLDER`.

A library that hangs, leaks or breaks takes this process with it and nothing else. Secrets come from the
database, and stand neither in the command line nor in what is logged.
"""

import hashlib
import os
import signal
import sys
import threading
from math import isfinite
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.database import create_database, session_factory
from core.ids import new_id
from core.jobs import lifecycle
from core.logs import configure_logs
from core.secrets.vault import Vault
from core.settings import Settings
from core.statuses import ENDED
from core.storage.object_store import ObjectStore, file_key
from core.tables import File, Job, Secret
from worker.tracking import lease as leases
from worker.tracking.lease import TrackerLease, TrackerLeaseLost
from worker.tracking.sinks import PROJECT_SECRETS, Report, Sink, TrackerRefused, open_sink

LOOK_SECONDS = 1.0
MAX_REASON = 300

log = structlog.get_logger()


class Reporting:
    """Carries a job's steps to its tracker until the job has ended, pauses, or this process is to stop."""

    def __init__(
        self, settings: Settings, sessions: sessionmaker[Session], store: ObjectStore, lease: TrackerLease
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._store = store
        self._hold = lease
        self._stopping = threading.Event()
        self._secrets: dict[str, str] = {}

    def stop(self) -> None:
        self._stopping.set()

    def run(self) -> None:
        """Whatever goes wrong is written down, for the job's client and for whoever tries next."""
        try:
            self._report()
        except (TrackerLeaseLost, SQLAlchemyError) as error:  # the lease runs out by itself
            log.warning("tracking_ended", job=self._hold.job_id, tracker=self._hold.type, error=str(error))
        except TrackerRefused as error:
            self._write(leases.refuse, str(error))
        except Exception as error:
            reason = self._without_secrets(f"{type(error).__name__}: {error}")
            log.warning("tracking_failed", job=self._hold.job_id, tracker=self._hold.type, reason=reason)
            self._write(leases.fail, reason)

    def _report(self) -> None:
        report, reported = self._load()
        sink = open_sink(self._hold.type, report)
        self._say_where(sink)
        done = reported
        reported = reported if sink.remembers else 0
        while True:
            with self._sessions.begin() as session:
                look = leases.look(session, self._hold, reported, done)
            for step, data in look.points:
                sink.log(step, _values(data))
                reported = step
            done = max(done, reported)
            if look.points:
                continue
            if look.status in ENDED:
                self._end(sink.end(look.status), report.job)
                return
            if look.status != "running" or self._stopping.wait(LOOK_SECONDS):
                sink.end(None)
                with self._sessions.begin() as session:
                    leases.give_back(session, self._hold)
                return

    def _load(self) -> tuple[Report, int]:
        """Raises UnreadableSecret."""
        vault = Vault.of(self._settings.secret_keys)
        with self._sessions.begin() as session:
            reported = leases.reported_step(session, self._hold)
            job = session.get_one(Job, self._hold.job_id)
            for name in PROJECT_SECRETS[self._hold.type]:
                if (secret := session.get(Secret, (job.project_id, name))) is not None:
                    self._secrets[name] = vault.open(secret.sealed)
        asked = next(entry for entry in job.integrations if entry["type"] == self._hold.type)
        folder = self._settings.home / "tracking" / self._hold.type
        uris = self._settings.offered_mlflow_uris
        return Report(job, asked, self._secrets, folder.resolve(), uris), reported

    def _say_where(self, sink: Sink) -> None:
        if sink.place is None:
            return
        # The same id from every process that reports the job: one event
        digest = hashlib.sha256(f"{self._hold.job_id} {self._hold.type}".encode()).hexdigest()[:32]
        with self._sessions.begin() as session:
            message = f"The job is reported to {self._hold.type}: {sink.place}"
            event_id = f"ftevent-{digest}"
            lifecycle.record_outside_event(session, self._hold.job_id, message, event_id=event_id)

    def _end(self, result: Path | None, job: Job) -> None:
        """With the file that belongs to the job's results, where there is one."""
        file = self._stored(result, job) if result else None
        with self._sessions.begin() as session:
            leases.end(session, self._hold)
            if file is not None:
                session.add(file)
                session.flush()
                session.get_one(Job, job.id).tensorboard_file_id = file.id

    def _stored(self, result: Path, job: Job) -> File:
        content = result.read_bytes()
        file_id = new_id("file-")
        self._store.put_bytes(file_key(file_id), content)
        return File(
            id=file_id,
            project_id=job.project_id,
            filename=result.name,
            purpose="fine-tune-results",
            bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            object_key=file_key(file_id),
        )

    def _write(self, how: Any, reason: str) -> None:
        try:
            with self._sessions.begin() as session:
                how(session, self._hold, reason)
        except (TrackerLeaseLost, SQLAlchemyError) as error:
            log.warning("tracking_end_not_written", job=self._hold.job_id, error=str(error))

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets.values():
            text = text.replace(secret, "***")
        return text[:MAX_REASON]


def _values(data: dict[str, Any]) -> dict[str, float]:
    """The numbers of a step; `step` itself and what was not measured are left out."""
    return {
        name: value
        for name, value in data.items()
        if isinstance(value, int | float) and isfinite(value) and name not in ("step", "total_steps")
    }


def main() -> None:
    settings = Settings()
    configure_logs(settings.log_level, settings.log_json)
    sessions = session_factory(create_database(settings.server("database_url"), pool_size=1))
    store = ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))
    forget_credentials()
    reporting = Reporting(settings, sessions, store, TrackerLease(*sys.argv[1:4]))
    signal.signal(signal.SIGTERM, lambda *_: reporting.stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_stop_with_the_worker, args=(reporting,), daemon=True).start()
    reporting.run()


def forget_credentials() -> None:
    """Database and store are open by now: no library, and no process that one starts, is given the keys."""
    settings = {f"TUNERY_{name.upper()}" for name in Settings.model_fields}
    for name in list(os.environ):
        if name in settings or name.startswith("AWS_"):
            del os.environ[name]


def _stop_with_the_worker(reporting: Reporting) -> None:
    """Its end closes our standard input, however it ends."""
    sys.stdin.read()
    reporting.stop()


if __name__ == "__main__":
    main()
