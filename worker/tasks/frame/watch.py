"""Watches over the process of a task: renews the lease, and ends the process when it may not go on."""

import os
import signal
import threading
import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.database import limit_waits
from core.jobs import lifecycle
from core.work import lease as leases
from core.work.lease import LEASE_SECONDS, TaskLeaseLost
from worker.process.exit_statuses import HUNG, TRY_AGAIN
from worker.process.stop_requests import at_end_of_worker, at_signal
from worker.tasks.frame.work import Work

RENEW_SECONDS = 2.0
WATCH_SECONDS = 0.5  # between two looks at the clock

log = structlog.get_logger()


def stand_watch(work: Work, stop: Callable[[], None]) -> None:
    """Renew the lease beside the work. End the process when it may not go on; `stop` ends it on demand."""
    at_signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    at_end_of_worker(stop)
    for watch in (_renew, _end_when_late):
        threading.Thread(target=watch, args=(work,), daemon=True).start()


def _renew(work: Work) -> None:
    """Renew the lease again and again. End the process when another one has the task.

    A task that nobody has asked for goes back into the queue, to begin again, once a job trains here.
    """
    waiting = threading.Event()
    while True:
        asked_at = time.monotonic()
        try:
            with work.sessions.begin() as session:
                limit_waits(session, lock_seconds=RENEW_SECONDS, statement_seconds=RENEW_SECONDS)
                leases.renew(session, work.lease, work.phase, work.done)
                if stops := _is_in_the_way(session, work):
                    leases.release(session, work.lease, 0.0)
            if stops:
                log.info("task_gave_way_to_training", task=work.lease.task_id)
                os._exit(0)
            work.renewed_at = asked_at
        except TaskLeaseLost:
            let_leave(work)
            os._exit(0)
        except SQLAlchemyError as error:
            log.warning("task_not_renewed", task=work.lease.task_id, error=str(error))
        waiting.wait(RENEW_SECONDS)


def _is_in_the_way(session: Session, work: Work) -> bool:
    return (
        work.lease.kind.last_if_from_job
        and lifecycle.trains_here(session)
        and leases.waits_for_training(session, work.lease.task_id)
    )


def _end_when_late(work: Work) -> None:
    """End the process when its lease has run out, or when the work has not advanced for too long.

    Another process may have the task once the lease has run out. This is a thread of its own, since a renewal
    may wait for the database for longer than the lease lasts.
    """
    waiting = threading.Event()
    while True:
        now = time.monotonic()
        if now >= work.renewed_at + LEASE_SECONDS:
            log.error("task_lease_ran_out", task=work.lease.task_id)
            os._exit(TRY_AGAIN)
        if now >= work.advanced_at + work.lease.kind.most_seconds:
            log.error("task_hangs", task=work.lease.task_id, phase=work.phase)
            os._exit(HUNG)
        waiting.wait(WATCH_SECONDS)


def let_leave(work: Work) -> None:
    work.stopping.set()
    time.sleep(work.leave_seconds)
