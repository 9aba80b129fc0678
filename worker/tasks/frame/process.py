"""The frame of a process that does one task: `python -m PACKAGE TASK FENCE HOLDER`.

A thread renews the task's lease. The process ends at once, without a further write, when the task is
cancelled or another process has it. Only a task that asks servers first counts what they have computed.
When the worker ends, the task goes back into the queue.
"""

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from core.database import create_database, session_factory
from core.errors import JobError
from core.process.failpoints import reached
from core.process.logs import configure_logs
from core.settings import Settings
from core.storage.file_names import DamagedFile
from core.storage.folders import fetch_folder, publish_folder
from core.storage.object_store import ObjectStore
from core.tables import Adapter, File, Task
from core.tracing import spans
from core.work import lease as leases
from core.work.client import create
from core.work.kinds import PORTABILITY
from core.work.lease import STARTING, TaskLease, TaskLeaseLost
from worker.process.exit_statuses import TRY_AGAIN
from worker.process.faults import outside_fault
from worker.process.scratch import remove_abandoned, scratch_folder
from worker.tasks.frame.watch import let_leave, stand_watch
from worker.tasks.frame.work import GaveWay, TryFailed, Work

log = structlog.get_logger()

Do = Callable[[Work, Path], Any]
"""Writes the task's files into the folder, and returns its report, in the form that its kind names.

Raises JobError if it cannot be done, and GaveWay if it shall be done later.
"""

Deliver = Callable[[Work, Path], dict[str, Any]]
"""Takes the files in the folder elsewhere, and returns what the report says about it.

Our store has them by then, so they stay even if this fails. Raises JobError and OutsideFault.
"""


Conclude = Callable[[Session, Work], None]
"""Writes what else changes when the task succeeds, in the transaction that ends the task.

It comes before the task's own row. So both it and a deletion lock an adapter first and its task second.
"""


def run_task(
    do: Do,
    deliver: Deliver | None = None,
    conclude: Conclude | None = None,
    *,
    ends_itself: bool = False,
    leave_seconds: float = 0.0,
) -> None:
    """Do the task that the command line names, and write what came of it.

    A process that is told to stop gives its task back and ends. With `ends_itself`, `do` looks at
    `Work.stopping` instead, and raises GaveWay once it has finished what it has begun. With `leave_seconds`,
    `do` has this time to raise GaveWay, also when the lease is lost.
    """
    settings = Settings()
    configure_logs(settings.log_level, settings.log_json)
    spans.start("task")
    lease = TaskLease(sys.argv[1], int(sys.argv[2]), sys.argv[3])
    sessions = session_factory(create_database(settings.server("database_url"), pool_size=2))
    store = ObjectStore(settings.server("s3_endpoint_url"), settings.server("s3_bucket"))
    began = time.monotonic()
    work = Work(settings, sessions, store, _taken_up(sessions, lease), lease, renewed_at=began)
    work.leave_seconds = leave_seconds
    stand_watch(work, work.stopping.set if ends_itself else partial(_give_back_and_end, work))
    known = {"tunery.task.id": lease.task_id, "tunery.task.attempt": lease.fence}
    with spans.begin(f"task.{lease.kind.name}", known, parent=work.task.traceparent):
        do_and_write(do, work, deliver, conclude)


def _taken_up(sessions: sessionmaker[Session], lease: TaskLease) -> Task:
    """Renew the lease, since this process may have started slowly, and return the task."""
    try:
        with sessions.begin() as session:
            leases.renew(session, lease, STARTING, 0.0)
            return session.get_one(Task, lease.task_id)
    except TaskLeaseLost as error:
        log.info("task_left", task=lease.task_id, reason=str(error))
        sys.exit(0)
    except SQLAlchemyError as error:
        log.warning("task_not_taken_up", task=lease.task_id, error=str(error))
        sys.exit(TRY_AGAIN)


def do_and_write(
    do: Do, work: Work, deliver: Deliver | None = None, conclude: Conclude | None = None
) -> None:
    """Do the task, and write what came of it: its files and report, why it cannot be done, or a later try."""
    try:
        remove_abandoned()
        with scratch_folder("task") as folder:
            report = _fetch_kept(work, folder)
            if report is None:
                report = _do_and_keep(do, work, folder)
            if deliver is not None:
                report |= deliver(work, folder)
        reached("task.delivered")
        with work.sessions.begin() as session:
            if conclude is not None:
                conclude(session, work)
            _finish(session, work, report)
        reached("task.finished")
    except GaveWay:
        _give_back(work, 0.0)
    except TaskLeaseLost as error:
        log.info("task_left", task=work.lease.task_id, reason=str(error))
    except TryFailed as error:
        reason = str(error)
        log.warning("try_failed", task=work.lease.task_id, reason=reason)
        spans.current().fail("try_failed")
        _write(work, lambda session: leases.lose(session, work.lease, reason))
    except JobError as error:
        _fail(work, error)
    except Exception as error:
        if fault := outside_fault(error):
            log.warning("task_waits", task=work.lease.task_id, reason=fault)
            spans.current().fail("outside_fault")
            _write(work, lambda session: _try_again_or_fail(session, work.lease, fault))
            return
        log.error("task_failed", task=work.lease.task_id, exc_info=error)
        reason = f"The server failed to do this ({type(error).__name__}); its log says why."
        _fail(work, JobError("internal_error", reason))


def _finish(session: Session, work: Work, report: dict[str, Any]) -> None:
    """Write that the task is done, and what it has made."""
    leases.finish(session, work.lease, report, work.made)
    is_measured = work.lease.kind.measured_when_made and work.settings.measures_at_publication
    if isinstance(work.made, Adapter) and is_measured:
        create(session, work.task.project_id, PORTABILITY, {}, None, adapter_id=work.made.id)


def _do_and_keep(do: Do, work: Work, folder: Path) -> dict[str, Any]:
    """Do the task, upload its files, and return its report.

    If the task makes an adapter or a file, the files become those of what it makes, and the task itself has
    none. The row of what it makes is written when the task ends. Otherwise the files are the task's.
    Raises JobError if they do not fit into the project's quota.
    """
    kind = work.lease.kind
    report: dict[str, Any] = kind.report.dump_python(do(work, folder), mode="json")
    work.progress("uploading", 0.95)
    work.check_room(folder)
    files = publish_folder(work.store, folder, work.prefix, moved=work.advance)
    reached("task.uploaded")
    if work.made is not None:
        _attach(work.made, work.prefix, files)
        return report
    with work.sessions.begin() as session:
        leases.keep(session, work.lease, work.prefix, files, report, kind.days_kept(work.settings))
    reached("task.kept")
    return report


def _attach(made: Adapter | File, prefix: str, files: list[dict[str, Any]]) -> None:
    """Say in the row of what was made where its bytes are. A dataset has one file."""
    if isinstance(made, Adapter):
        made.object_prefix, made.files = prefix, files
        return
    (content,) = files
    made.object_key = prefix + content["name"]
    made.bytes, made.sha256 = content["bytes"], content["sha256"]


def _fetch_kept(work: Work, folder: Path) -> dict[str, Any] | None:
    """Fetch the files of an earlier process that was lost while it delivered them. Returns their report.

    They are delivered as they are: made again, they might differ from what has been delivered already.
    """
    task = work.task
    if task.object_prefix is None:
        return None
    try:
        fetch_folder(work.store, task.object_prefix, task.files, folder, work.advance)
    except DamagedFile as error:
        raise JobError("files_damaged", f"The files that were made are damaged: {error}.") from error
    return dict(task.report or {})


def _give_back_and_end(work: Work) -> None:
    let_leave(work)
    _give_back(work, 0.0)
    os._exit(0)


def _give_back(work: Work, delay: float) -> None:
    _write(work, lambda session: leases.release(session, work.lease, delay))


def _try_again_or_fail(session: Session, lease: TaskLease, fault: str) -> None:
    if leases.has_had_its_tries(session, lease):
        reason = f"{fault}. This was tried {lease.fence} times."
        leases.fail(session, lease, JobError("unavailable", reason))
    else:
        leases.release(session, lease, lease.kind.retry_seconds)


def _fail(work: Work, error: JobError) -> None:
    spans.current().fail(error.code)
    _write(work, lambda session: leases.fail(session, work.lease, error))


def _write(work: Work, write: Callable[[Session], object]) -> None:
    """Write the end of this try. If the database is away, the worker puts the task back."""
    try:
        with work.sessions.begin() as session:
            write(session)
    except TaskLeaseLost:
        return
    except SQLAlchemyError as error:
        log.warning("task_end_not_written", task=work.lease.task_id, error=str(error))
        os._exit(TRY_AGAIN)
