"""The resident trainer process, `python -m worker.train.trainer OWNER`: claim, train, publish, claim again.

Its standard input is the line to its supervisor: a line means that jobs may wait, the end means that the
supervisor is gone; the trainer writes to it while it waits for the store or the disk. SIGTERM and the end of
input write checkpoints, give the jobs back and stop. Where several processes train together, the first does
so, and the others follow its orders (`process_group.py`).
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from math import inf
from queue import SimpleQueue

import structlog
import torch
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.database import create_database, session_factory
from core.jobs import lifecycle
from core.jobs.spec import BeyondThisRelease, JobSpec, read_spec
from core.jobs.suspects import is_suspect
from core.logs import configure_logs
from core.settings import Settings
from core.storage.object_store import ObjectStore
from core.tables import Job
from worker.devices.model_slot import ModelSlot
from worker.devices.process_group import ProcessGroup
from worker.devices.watchdog import Watchdog
from worker.engine.base.base_model import choose_device
from worker.engine.device.health import check_device, device_is_broken
from worker.engine.step.processes import from_environment, number_on_machine
from worker.process import stop_times
from worker.process.exit_statuses import DEVICE_BROKEN
from worker.save.shipping import Shipping
from worker.train.cohort import Cohort
from worker.train.job import TrainingJob
from worker.train.server_probe import PROBE_SECONDS, ServerProbe
from worker.train.worker_status import WorkerStatus

SHIPPED_AT_ONCE = 4  # jobs; each of their files goes in several parts at once
HELD_SECONDS = 1  # between two looks at jobs that do not train yet: they too may be cancelled or paused

log = structlog.get_logger()


class Trainer:
    """Fills a cohort from the queue and trains it, round by round.

    Only the queue's next job may join, and only where it trains on the resident base model and fits beside
    the others. Another one waits, and so does all behind it: the cohort drains until that job can be taken.
    So no job is overtaken for ever, neither on another base model nor with a larger adapter. A job that may
    have ended its last trainer is taken like any other, but the cohort holds still until it has made a
    checkpoint, and nobody joins. One whose method trains alone waits for an empty cohort, which nobody joins
    then. A job that this release cannot train stays in the queue as it is, for a
    worker that can, and others go before it.
    """

    def __init__(
        self,
        settings: Settings,
        owner: str,
        slot: ModelSlot,
        process_group: ProcessGroup,
        say_that_it_waits: Callable[[], object] = lambda: None,
    ) -> None:
        """`say_that_it_waits` is called as long as no job can be taken for want of the store or the disk."""
        self._settings = settings
        self._owner = owner
        self._slot = slot
        self._process_group = process_group
        self._say_that_it_waits = say_that_it_waits
        self._sessions: sessionmaker[Session] = session_factory(
            create_database(settings.server("database_url"))
        )
        place = settings.server("s3_endpoint_url"), settings.server("s3_bucket")
        self._store = ObjectStore(*place)
        self._bell = threading.Event()
        probed = ObjectStore(*place, retries=0, timeout=PROBE_SECONDS)
        self._server_probe = ServerProbe(probed, settings.scan_seconds)
        self._cohort = Cohort(process_group, self._server_probe, job_left=self._bell.set)
        self._worker_status = WorkerStatus(settings, self._sessions, owner, slot)
        self._looked_at = 0.0
        self._passed_over: set[str] = set()  # jobs that this release cannot train: their specs never change
        # One job's rows at a time: rendering takes a core from the training thread
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._shippers = ThreadPoolExecutor(SHIPPED_AT_ONCE, thread_name_prefix="shipper")

    def run(self) -> None:
        """Train until told to stop. Raises what no job is to blame for, above all that of a broken device."""
        check_device(self._slot.device)  # before a job is claimed that could only be lost
        log.info(
            "trainer_ready",
            owner=self._owner,
            device=str(self._slot.device),
            threads=torch.get_num_threads(),
            processes=self._process_group.size,
        )
        self._worker_status.start()
        self._bell.set()
        while not self._process_group.asked_to_stop():
            self._look_for_jobs()
            if not (self._cohort.jobs and self._cohort.train()):
                self._bell.wait(min(self._settings.scan_seconds, HELD_SECONDS if self._cohort.jobs else inf))
        self._cohort.give_back()
        self._worker_status.end()
        self._readers.shutdown()
        self._shippers.shutdown()
        self._process_group.dismiss()

    def wake(self) -> None:
        self._bell.set()

    def stop(self) -> None:
        self._process_group.stop()
        self._bell.set()

    def _look_for_jobs(self) -> None:
        """Claim what may join: when the bell rang or a job left, and every `scan_seconds`."""
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
                    self._say_that_it_waits()  # to its supervisor, those jobs look like some that it leaves
                return

    def _has_room(self) -> bool:
        cohort = self._cohort
        full = len(cohort.jobs) >= self._settings.cohort_jobs
        return not (full or cohort.holds_a_suspect or cohort.is_taken_up)

    def _claim(self) -> bool:
        """Take the next job. False where none waits that may join, or the database is away."""
        known = len(self._passed_over)
        claimed_at = time.monotonic()
        try:
            with self._sessions.begin() as session:
                lease = lifecycle.claim(
                    session,
                    self._owner,
                    self._settings.lease_seconds,
                    project_jobs=self._settings.project_jobs,
                    devices=self._settings.devices,
                    accepts=lambda row: self._may_join(row, is_suspect(session, row)),
                    passed_over=self._passed_over,
                )
                if lease is None:
                    return len(self._passed_over) > known  # then the one behind it may be ours
                row = session.get_one(Job, lease.job_id)
        except SQLAlchemyError as error:
            log.warning("claim_failed", error=str(error))
            return False
        shipping = Shipping(self._shippers, ended=self._bell.set)
        job = TrainingJob(
            self._sessions, self._store, self._settings, self._process_group, lease, row, claimed_at, shipping
        )
        self._cohort.add(job, prepare=lambda: self._start_reading(job))
        return True

    def _may_join(self, row: Job, suspect: bool) -> bool:
        """Whether a job can train beside the present ones. Without any, it is taken whatever its size."""
        spec = self._readable(row)
        if spec is None:
            return False
        if not self._cohort.jobs:
            return True
        if suspect and not self._cohort.admits_a_suspect:
            return False
        if spec.trains_alone or not self._slot.holds(spec):
            return False
        return self._cohort.state_bytes + self._slot.state_bytes(spec) <= self._settings.cohort_bytes

    def _readable(self, row: Job) -> JobSpec | None:
        """The job's specification. None where this release cannot train it: it is not looked at again."""
        try:
            return read_spec(row.spec)
        except BeyondThisRelease as error:
            log.warning("job_is_beyond_this_release", job=row.id, reason=str(error))
            self._passed_over.add(row.id)
            return None

    def _start_reading(self, job: TrainingJob) -> None:
        """With the base model loaded, which takes a while where it is not the resident one."""
        base = self._process_group.load(job.spec)
        job.state_bytes = self._slot.state_bytes(job.spec)
        reading = job.start_reading(base, self._readers)
        reading.add_done_callback(lambda _: self._bell.set())


def main() -> None:
    settings = Settings()
    configure_logs(settings.log_level, settings.log_json)
    number = number_on_machine()
    device = choose_device(settings.device, number)
    slot = ModelSlot(settings, device)
    watchdog = Watchdog(settings.hang_seconds)
    watchdog.start()
    process_group = ProcessGroup(slot, from_environment(device), settings.max_step_tokens, watchdog)
    try:
        _serve(settings, slot, process_group)
    except BaseException as error:
        log.critical("trainer_broke", number=number, exc_info=error)
        # At once: an orderly exit would wait for the readers, with every lease renewed meanwhile; and only
        # the end of this process tells torchrun to end the others
        os._exit(DEVICE_BROKEN if device_is_broken(error) else 1)
    if number is not None and not process_group.stopping:
        sys.exit(1)  # another machine stops; after a success, torchrun would wait for that one's


def _serve(settings: Settings, slot: ModelSlot, process_group: ProcessGroup) -> None:
    trainer = None
    if process_group.is_first:
        line = socket.socket(fileno=os.dup(sys.stdin.fileno()))
        trainer = Trainer(settings, sys.argv[1], slot, process_group, partial(_say_that_it_waits, line))

    def stop() -> None:
        (trainer or process_group).stop()
        time.sleep(stop_times.TRAINER)
        os._exit(1)

    _at_signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the supervisor's to handle
    if not number_on_machine():  # the others on this machine have the same standard input
        wake = trainer.wake if trainer else lambda: None
        threading.Thread(target=_listen, args=(wake, stop), daemon=True).start()
    if trainer:
        trainer.run()
    else:
        process_group.follow()


def _listen(wake: Callable[[], None], stop: Callable[[], None]) -> None:
    with suppress(OSError):  # the end, too, where the supervisor has died without reading all
        for _ in sys.stdin:
            wake()
    stop()


def _say_that_it_waits(line: socket.socket) -> None:
    """Or not, where the supervisor does not read: that must not hold up its trainer."""
    with suppress(OSError):
        line.send(b"waiting\n", socket.MSG_DONTWAIT)


def _at_signal(number: signal.Signals, action: Callable[[], None]) -> None:
    """In a thread of its own: a handler interrupts the main one, and what that holds, `action` may need."""
    came: SimpleQueue[None] = SimpleQueue()  # its `put` may interrupt anything

    def wait() -> None:
        came.get()
        action()

    threading.Thread(target=wait, daemon=True).start()
    signal.signal(number, lambda *_: came.put(None))


if __name__ == "__main__":
    main()
