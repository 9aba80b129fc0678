"""The trainer process, `python -m worker.trainer.train.trainer OWNER`: it claims, trains and publishes jobs.

Its standard input is a socket to its supervisor. A line from the supervisor means that jobs may be waiting.
The end of input means that the supervisor is gone. While the trainer leaves jobs in the queue on purpose, it
tells the supervisor through the same socket. At SIGTERM and at the end of input, the trainer saves
checkpoints, gives its jobs back and stops.

If several processes train together, only the first process does this. The others follow its orders
(`worker/trainer/devices/process_group.py`).
"""

import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from math import inf

import structlog
import torch
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core import artifacts
from core.artifacts import LONGEST_REQUEST, Owner
from core.database import create_database, session_factory
from core.errors import OutsideFault
from core.ids import new_id
from core.jobs import lifecycle
from core.jobs.spec import BeyondThisRelease, JobSpec, read_spec
from core.jobs.suspects import is_suspect
from core.process.failpoints import reached
from core.process.logs import configure_logs
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import Job
from worker.device.lending import Lending
from worker.device.model_holder import ModelHolder
from worker.device.time_slices import TimeSlices
from worker.device.watchdog import Watchdog
from worker.engine.base.base_model import choose_device
from worker.engine.device.health import check_device, device_is_broken, finish_computing
from worker.engine.step.processes import from_environment, number_on_machine
from worker.process import stop_times
from worker.process.exit_statuses import DEVICE_BROKEN
from worker.process.scratch import remove_abandoned
from worker.process.stop_requests import at_signal
from worker.rendering.renderer import Renderer
from worker.trainer.devices.process_group import ProcessGroup
from worker.trainer.reading.reader import Readers
from worker.trainer.report.heartbeats import Heartbeats
from worker.trainer.save.shipping import Shipping
from worker.trainer.train.cohort import Cohort
from worker.trainer.train.job import TrainingJob
from worker.trainer.train.server_probe import ServerProbe
from worker.trainer.train.serving import ServingThread
from worker.trainer.train.worker_status import WorkerStatus

SHIPPED_AT_ONCE = 4  # jobs; each file is uploaded in several parts at once
HELD_SECONDS = 1  # between two checks of jobs that make no steps now: a client may cancel or pause them too

log = structlog.get_logger()


class Trainer:
    """Fills a cohort from the queue and trains it, round by round.

    Only the queue's next job may join, and only if it trains on the resident base model and fits beside the
    other jobs. Otherwise it waits, and so do all jobs behind it: no job joins the cohort until the waiting
    job can be taken. So no job is overtaken for ever because it needs another base model or has a larger
    adapter.

    A suspect, which may have ended its last trainer, is taken like any other job. But its neighbours then
    hold still, and no job joins, until the suspect has saved a checkpoint. A job whose method trains alone
    waits for an empty cohort, and no job joins it. A job whose rows, once read, are too long to fit beside
    the others holds still in the cohort until it fits, and no job joins meanwhile. A job that this
    release cannot train stays in the queue, unchanged, for a worker that can train it. Other jobs overtake
    it.
    """

    def __init__(
        self,
        settings: Settings,
        owner: str,
        holder: ModelHolder,
        process_group: ProcessGroup,
        renderer: Renderer,
        say_that_it_waits: Callable[[], object] = lambda: None,
    ) -> None:
        """`say_that_it_waits` is called while this trainer leaves jobs in the queue on purpose.

        The trainer leaves them there while the store or the disk fails, while it loads a base model for a
        chat, or if this release cannot train them.
        """
        self._settings = settings
        self._owner = owner
        self._holder = holder
        self._process_group = process_group
        self._say_that_it_waits = say_that_it_waits
        self._sessions: sessionmaker[Session] = session_factory(
            create_database(settings.server("database_url"))
        )
        self._store = ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))
        self._bell = threading.Event()
        self._server_probe = ServerProbe(
            self._store, settings.scan_seconds, self._bell.set, self._open_artifacts_of_a_test
        )
        self._slices = TimeSlices(settings.serve_share, finish=partial(finish_computing, holder.device))
        self._lending = Lending(holder, self._slices, self._bell.set, say_that_it_waits)
        self._server = ServingThread(settings, self._lending) if settings.serve_share else None
        self._cohort = Cohort(
            process_group, self._server_probe, job_left=self._bell.set, let_others_compute=self._share_device
        )
        self._heartbeats = Heartbeats(self._sessions)
        self._worker_status = WorkerStatus(settings, self._sessions, owner, holder)
        self._looked_at = 0.0
        self._token = new_id("")  # of the next lease; kept until a claim with it has been answered
        self._unanswered = False
        self._passed_over: set[str] = set()  # jobs that this release cannot train: their specs never change
        self._readers = Readers(settings, self._store, renderer)
        self._shippers = ThreadPoolExecutor(SHIPPED_AT_ONCE, thread_name_prefix="shipper")

    def run(self) -> None:
        """Train until told to stop. Raises errors that no job has caused, such as a broken device."""
        check_device(self._holder.device)  # first: a job claimed on a broken device would be lost
        log.info(
            "trainer_ready",
            owner=self._owner,
            device=str(self._holder.device),
            threads=torch.get_num_threads(),
            processes=self._process_group.size,
        )
        self._worker_status.start()
        self._bell.set()
        if self._server is not None:
            self._server.start()
        with self._slices.held():
            while not self._process_group.asked_to_stop():
                self._lending.answer(training=bool(self._cohort.jobs))
                self._look_for_jobs()
                if not (self._cohort.jobs and self._cohort.train()):
                    self._wait()
        self._cohort.give_back()  # answers go on meanwhile, as long as a stopping server lets them
        self._worker_status.end()
        self._readers.threads.shutdown()
        self._shippers.shutdown()
        if self._server is not None:
            self._server.join()
        self._process_group.dismiss()

    def wake(self) -> None:
        """Look for jobs again, soon. May be called from any thread."""
        self._bell.set()

    def stop(self) -> None:
        """Have `run` give its jobs back and return. May be called from any thread."""
        self._process_group.stop()
        if self._server is not None:
            self._server.stop()
        self._bell.set()

    def _wait(self) -> None:
        """Wait for the bell, but not for ever. Chats have the device meanwhile."""
        with self._slices.released():
            self._bell.wait(min(self._settings.scan_seconds, HELD_SECONDS if self._cohort.jobs else inf))

    def _open_artifacts_of_a_test(self, prefixes: Sequence[str]) -> None:
        """Have the janitor remove what a test of the store leaves if this process dies."""
        with self._sessions.begin() as session:
            for prefix in prefixes:
                owner = Owner("probe", self._owner)
                artifacts.open(session, owner, prefix, None, counted=False, lasts=LONGEST_REQUEST)

    def _share_device(self) -> None:
        """Let the server in this process have its slice of time, between two micro-batches."""
        self._lending.answer(training=True)
        self._slices.give()

    def _look_for_jobs(self) -> None:
        """Claim the jobs that may join, if the bell has rung or `scan_seconds` have passed."""
        if not self._bell.is_set() and time.monotonic() - self._looked_at < self._settings.scan_seconds:
            return
        self._bell.clear()
        self._looked_at = time.monotonic()
        while self._has_room() and not self._process_group.stopping:
            if not self._server_probe.allow_a_job():
                self._say_that_it_waits()
                return
            if not self._claim():
                if self._passed_over:
                    # Otherwise the supervisor would think that the trainer is stuck
                    self._say_that_it_waits()
                return

    def _has_room(self) -> bool:
        cohort = self._cohort
        full = len(cohort.jobs) >= self._settings.cohort_jobs
        return not (full or cohort.holds_a_suspect or cohort.is_exclusive)

    def _claim(self) -> bool:
        """Take the next job, and return whether to look for another one.

        Return False if no waiting job may join, or if the database cannot be reached. In the second case, the
        claim may have been committed. The next call finds the job by the token, soon if only the connection
        has broken.
        """
        known = len(self._passed_over)
        claimed_at = time.monotonic()
        try:
            with self._sessions.begin() as session:
                lease = lifecycle.claim(
                    session,
                    self._owner,
                    self._settings.lease_seconds,
                    token=self._token,
                    project_jobs=self._settings.project_jobs,
                    devices=self._settings.devices,
                    accepts=lambda row: self._may_join(row, is_suspect(session, row)),
                    passed_over=self._passed_over,
                )
                if lease is None:
                    return len(self._passed_over) > known  # then try the job behind it
                row = session.get_one(Job, lease.job_id)
        except SQLAlchemyError as error:
            log.warning("claim_failed", error=str(error))
            if not self._unanswered:
                self._bell.set()
            self._unanswered = True
            return False
        reached("claim.committed")
        self._token, self._unanswered = new_id(""), False
        shipping = Shipping(self._shippers, ended=self._bell.set)
        job = TrainingJob(
            self._sessions,
            self._store,
            self._settings,
            self._process_group,
            lease,
            row,
            claimed_at,
            shipping,
            self._heartbeats,
        )
        self._cohort.add(job, prepare=lambda: self._start_reading(job))
        return True

    def _may_join(self, row: Job, suspect: bool) -> bool:
        """Return whether a job can train beside the present ones. The first job may have any size."""
        spec = self._readable(row)
        if spec is None:
            return False
        if not self._cohort.jobs:
            return True
        if suspect and not self._cohort.admits_a_suspect:
            return False
        if spec.trains_alone or not self._holder.holds(spec):
            return False
        room = self._settings.cohort_bytes
        if room is None:
            room = self._process_group.room_for_adapters
        return self._cohort.state_bytes + self._holder.state_bytes(spec) <= room

    def _readable(self, row: Job) -> JobSpec | None:
        """Return the job's specification, or None if this release cannot train it.

        In that case the job is passed over from now on.
        """
        try:
            return read_spec(row.spec)
        except BeyondThisRelease as error:
            log.warning("job_is_beyond_this_release", job=row.id, reason=str(error))
            self._passed_over.add(row.id)
            return None

    def _start_reading(self, job: TrainingJob) -> None:
        """Make the job's base model resident, which may take a while, and start reading the job's rows.

        If the catalog has changed since the claim, the job must not replace its neighbours' base model.
        """
        if self._holder.holds(job.spec):
            base = self._holder.base
        elif self._cohort.jobs == [job]:
            self._lending.reclaim()
            base = self._process_group.load(job.spec)
        else:
            raise OutsideFault("The base model was changed in the catalog while other jobs train on it")
        reading = job.start_reading(base, self._readers)
        reading.add_done_callback(lambda _: self._bell.set())


def main() -> None:
    gc.freeze()  # no collection walks over the modules of torch and transformers: that takes 0.25 s
    settings = Settings()
    configure_logs(settings.log_level, settings.log_json)
    number = number_on_machine()
    device = choose_device(settings.device, number)
    holder = ModelHolder(settings, device)
    watchdog = Watchdog(settings.hang_seconds)
    watchdog.start()
    process_group = ProcessGroup(
        holder, from_environment(device), settings.max_step_tokens, watchdog, settings.recompute
    )
    try:
        _serve(settings, holder, process_group)
    except BaseException as error:
        log.critical("trainer_broke", number=number, exc_info=error)
        # Exit at once: an orderly exit would wait for the readers, and all leases would be renewed meanwhile.
        # Besides, torchrun ends the other processes only when this process has ended.
        os._exit(DEVICE_BROKEN if device_is_broken(error) else 1)
    if number is not None and not process_group.stopping:
        sys.exit(1)  # another machine was told to stop; after status 0, torchrun would wait for its processes


def _serve(settings: Settings, holder: ModelHolder, process_group: ProcessGroup) -> None:
    """Train as the first process, or follow the first process's orders, until told to stop."""
    trainer = None
    if process_group.is_first:
        remove_abandoned()
        line = socket.socket(fileno=os.dup(sys.stdin.fileno()))
        say_that_it_waits = partial(_say_that_it_waits, line)
        trainer = Trainer(settings, sys.argv[1], holder, process_group, Renderer(), say_that_it_waits)

    def stop() -> None:
        (trainer or process_group).stop()
        time.sleep(stop_times.TRAINER)
        os._exit(1)

    at_signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor handles a terminal's Ctrl-C
    if not number_on_machine():  # all processes of a machine share one standard input: one of them listens
        wake = trainer.wake if trainer else lambda: None
        threading.Thread(target=_listen, args=(wake, stop), daemon=True).start()
    if trainer:
        trainer.run()
    else:
        process_group.follow()


def _listen(wake: Callable[[], None], stop: Callable[[], None]) -> None:
    """Call `wake` for each line of standard input, and `stop` at its end."""
    with suppress(OSError):  # also means the end: the supervisor died before it read all messages
        for _ in sys.stdin:
            wake()
    stop()


def _say_that_it_waits(line: socket.socket) -> None:
    """Tell the supervisor that this trainer waits on purpose.

    Drop the message if the supervisor is not reading, so that the trainer never blocks on it.
    """
    with suppress(OSError):
        line.send(b"waiting\n", socket.MSG_DONTWAIT)


if __name__ == "__main__":
    main()
