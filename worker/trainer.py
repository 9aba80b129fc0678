"""The resident trainer process, `python -m worker.trainer OWNER`: claim, train, publish, claim again.

Its standard input is the line to its supervisor: a line means that jobs may wait, the end means that the
supervisor is gone. SIGTERM and the end of input write a checkpoint, give the jobs back and stop.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial

import structlog
import torch
from botocore.exceptions import BotoCoreError, ClientError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core import lifecycle
from core.catalog import BaseModelEntry, load_catalog
from core.database import create_database, session_factory
from core.errors import JobError, LeaseLost
from core.logs import configure_logs
from core.models import Job
from core.settings import Settings
from core.storage import ObjectStore
from worker.engine.base_model import ResidentBase, choose_device
from worker.engine.loop import train_round
from worker.engine.member import StepResult
from worker.job import TrainingJob
from worker.model_store import ensure_model

STOP_SECONDS = 50  # from the order to stop to the process's end, whatever hangs
SERVER_ERRORS = (SQLAlchemyError, BotoCoreError, ClientError, OSError)

log = structlog.get_logger()


class Trainer:
    """Trains the jobs it holds, round by round; one base model is resident at a time."""

    def __init__(self, settings: Settings, owner: str) -> None:
        self._settings = settings
        self._owner = owner
        self._sessions: sessionmaker[Session] = session_factory(
            create_database(settings.server("database_url"))
        )
        self._store = ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))
        self._catalog = load_catalog(settings.catalog_file)
        self._device = choose_device(settings.device)
        self._base: ResidentBase | None = None
        self._jobs: list[TrainingJob] = []
        self._suspicious = False
        self._bell = threading.Event()
        self._stopping = threading.Event()

    def run(self) -> None:
        log.info(
            "trainer_ready", owner=self._owner, device=str(self._device), threads=torch.get_num_threads()
        )
        while not self._stopping.is_set():
            self._bell.clear()
            if not self._jobs and not (self._store_answers() and self._claim()):
                self._bell.wait(self._settings.sweep_seconds)
                continue
            self._train_one_round()
        for job in list(self._jobs):
            self._guard(job, partial(self._give_back, job))
            self._leave(job)

    def wake(self) -> None:
        self._bell.set()

    def stop(self) -> None:
        self._stopping.set()
        self._bell.set()

    def _store_answers(self) -> bool:
        """Whether jobs can be taken. Asked only after a server has failed a job: else one outage would fail
        job after job."""
        if self._suspicious:
            try:
                self._store.check()
            except SERVER_ERRORS as error:
                log.warning("store_unreachable", error=str(error))
                return False
            self._suspicious = False
        return True

    def _claim(self) -> bool:
        """Take the next job and prepare it. False where nothing waits or the database is away."""
        claimed_at = time.monotonic()
        try:
            with self._sessions.begin() as session:
                lease = lifecycle.claim(
                    session,
                    self._owner,
                    self._settings.lease_seconds,
                    project_jobs=self._settings.project_jobs,
                )
                if lease is None:
                    return False
                base_model = session.get_one(Job, lease.job_id).base_model
        except SQLAlchemyError as error:
            log.warning("claim_failed", error=str(error))
            return False
        job = TrainingJob(self._sessions, self._store, self._settings, lease, claimed_at)
        self._jobs.append(job)
        self._guard(job, lambda: job.prepare(self._resident_base(base_model)))
        return True

    def _resident_base(self, model_id: str) -> ResidentBase:
        """The base model, loaded in place of another one where need be. Raises JobError."""
        if self._base is None or self._base.entry.id != model_id:
            entry = self._entry(model_id)
            folder, sha256 = ensure_model(entry, self._settings.models_folder)
            self._base = None  # freed before the next one is loaded
            self._base = ResidentBase(entry, folder, sha256, self._device)
        return self._base

    def _entry(self, model_id: str) -> BaseModelEntry:
        entry = self._catalog.get(model_id)
        if entry is None:
            raise JobError("model_unavailable", f"This worker's catalog has no model {model_id}.", "model")
        return entry

    def _train_one_round(self) -> None:
        for job in list(self._jobs):
            self._guard(job, job.reporter.check)
        jobs = [job for job in self._jobs if not job.member.finished]
        results = self._results(jobs) if jobs else {}
        for job in jobs:
            result = results.get(job.member.adapter.name)
            if result is not None:
                self._guard(job, partial(job.after_step, result))
        for job in [job for job in self._jobs if job.member.finished]:
            self._guard(job, job.publish)
            self._leave(job)

    def _results(self, jobs: list[TrainingJob]) -> Mapping[str, StepResult | JobError]:
        """The round's outcome by adapter. What breaks the round itself, want of memory say, ends its jobs."""
        assert self._base is not None
        members = [job.member for job in jobs]
        try:
            return train_round(self._base, members, self._settings.max_step_tokens, self._must_abandon)
        except Exception as error:
            for job in jobs:
                self._guard(job, partial(_raise, error))
            return {}

    def _must_abandon(self) -> bool:
        return self._stopping.is_set() or any(job.reporter.lost for job in self._jobs)

    def _give_back(self, job: TrainingJob) -> None:
        if not job.member.finished:
            job.save_checkpoint()
        job.release("The worker shuts down")

    def _guard(self, job: TrainingJob, action: Callable[[], None]) -> None:
        """Run one job's action; whatever it raises ends this job here and no other."""
        try:
            action()
            return
        except LeaseLost as error:
            log.info("lease_lost", job=job.lease.job_id, reason=str(error))
        except JobError as error:
            self._fail(job, error)
        except torch.OutOfMemoryError:
            self._fail(job, job.out_of_memory())
        except SERVER_ERRORS as error:
            log.warning("server_failed", job=job.lease.job_id, exc_info=error)
            self._suspicious = True
            self._lose(job, f"A server that the trainer needs did not answer ({type(error).__name__})")
        except Exception as error:
            log.error("unexpected_error", job=job.lease.job_id, exc_info=error)
            message = "The trainer met an unexpected error; the worker's log has it under this job's id."
            self._fail(job, JobError("internal_error", message))
        self._leave(job)

    def _fail(self, job: TrainingJob, error: JobError) -> None:
        log.info("job_failed", job=job.lease.job_id, code=error.code, message=error.message)
        self._end(job, lambda: job.fail(error))

    def _lose(self, job: TrainingJob, reason: str) -> None:
        self._end(job, lambda: job.lose(reason))

    def _end(self, job: TrainingJob, action: Callable[[], None]) -> None:
        """Write the job's end; where even that fails, its lease runs out and the sweep finds it."""
        try:
            action()
        except (LeaseLost, *SERVER_ERRORS) as error:
            log.warning("end_not_written", job=job.lease.job_id, error=str(error))

    def _leave(self, job: TrainingJob) -> None:
        if job in self._jobs:
            self._jobs.remove(job)
            job.close()


def _raise(error: Exception) -> None:
    raise error


def main() -> None:
    settings = Settings()
    configure_logs(settings.log_level, settings.log_json)
    trainer = Trainer(settings, owner=sys.argv[1])

    def stop(*_: object) -> None:
        trainer.stop()
        threading.Thread(target=_exit_late, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the supervisor's to handle
    threading.Thread(target=_listen, args=(trainer.wake, stop), daemon=True).start()
    trainer.run()


def _listen(wake: Callable[[], None], stop: Callable[[], None]) -> None:
    for _ in sys.stdin:
        wake()
    stop()


def _exit_late() -> None:
    time.sleep(STOP_SECONDS)
    os._exit(1)


if __name__ == "__main__":
    main()
